#!/usr/bin/env python3
"""Pre-trains the small encoder by masked prediction of k-means units, on the parts and manifests that `pretrain` names.

Needs stage 0 of the same configuration:
  ./run.sh --conf conf/pretrain_mini.yaml --stage 0 --stop-stage 0
  python local/pretrain_encoder.py --conf conf/pretrain_mini.yaml
It takes the place of stage 2 in its experiment. Repeat the command to resume; --force starts over.
"""

import sys
from pathlib import Path

from spin import products
from spin.product_keys import make_key
from spin.runtime.files import commit
from spin.runtime.product import Context, Product
from spin.runtime.stage import run_stage


def encoder_product(context: Context) -> Product:
    """exp/<name>/pretrain/: encoder.safetensors, and the labels and checkpoints of each iteration."""
    config = context.config
    inputs = [products.manifest(context, part) for part in config.pretrain.parts]
    key = make_key(config, "pretrain", {"seed": config.seed})
    path = context.exp / "pretrain"
    return Product(context, "pre-trained encoder", path, stage=2, own_key=key, inputs=inputs, content=("encoder.safetensors",))


def pretrain_encoder(context: Context) -> None:
    """Trains the encoder that the configuration describes, or resumes a training that was interrupted."""
    product = encoder_product(context)
    if not product.needs_build():
        return
    from spin.models.weights import save_encoder  # torch is imported only for work
    from spin.runtime.devices import prepare_cpu, resolve_device
    from spin.training.pretrain import pretrain

    config = context.config
    device = resolve_device(config.runtime.device)
    prepare_cpu(config.runtime.threads)
    manifests = {part: products.manifest(context, part).require() for part in config.pretrain.parts}
    manifests |= {f"manifest{number}": Path(path) for number, path in enumerate(config.pretrain.manifests, start=1)}
    with product.building() as folder:
        encoder = pretrain(config, manifests, folder, context.exp / "tensorboard" / "pretrain", device)
        plan = zip(config.pretrain.steps, config.pretrain.clusters)
        steps = ", ".join(f"{steps} steps on {clusters} clusters" for steps, clusters in plan)
        notes = {"made_from": f"{', '.join(manifests)}; {steps}; seed {config.seed}", "commit": commit()}
        save_encoder(folder / "encoder.safetensors", encoder, dtype="float16", notes=notes)
    context.log.info("encoder: %s", product.path / "encoder.safetensors")


if __name__ == "__main__":
    run_stage(2, sys.argv[1:], pretrain_encoder, __doc__)
