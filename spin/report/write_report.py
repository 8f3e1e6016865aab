"""Report half of stage 5: report.json, report.html and report.md."""

import re
from pathlib import Path

import jinja2
import yaml

from spin import artifacts, products
from spin.report.collect import Material, collect
from spin.report.headline import cards, headline
from spin.report.tables import Table
from spin.runtime.context import Context
from spin.runtime.files import write_json, write_text
from spin.runtime.product import Product
from spin.systems import systems_of

TEMPLATES = Path(__file__).parent / "templates"


def write_report(context: Context, scores: Product | None) -> None:
    """Writes the report of an experiment unless it is up to date; without scores, pages of unit metrics but no report.json.

    Raises DataError where a product is missing or damaged, or the figures do not fit the report's schema.
    """
    metrics = [products.metrics(context, system) for system in systems_of(context.config, context.exp)]
    product = products.report(context, [*filter(None, [scores]), *metrics], "json" if scores else "html")
    page, text = (artifacts.report(context.exp, kind) for kind in ("html", "md"))
    if product.needs_build() or not page.exists() or not text.exists():
        with product.building() as partial:
            material = collect(context, scores)
            write_text(text, render_markdown(material))
            write_text(page if scores else partial, render_page(material))
            if scores:
                write_json(partial, material.report)
            else:  # that of an earlier configuration does not belong to these pages
                artifacts.report(context.exp, "json").unlink(missing_ok=True)
        answer = headline(material.report)
        context.log.info("%s. %s", answer.title, answer.detail)
    context.log.info("report: %s", page)


def render_page(material: Material) -> str:
    """report.html: the same bytes for the same material."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    report = material.report
    config = yaml.safe_dump(report["config"], sort_keys=False, allow_unicode=True)
    template = environment.get_template("report.html.j2")
    return template.render(**material._asdict(), answer=headline(report), cards=cards(report), config=config).lstrip() + "\n"


def render_markdown(material: Material) -> str:
    """report.md: answer and tables for a terminal, a repository page or a mail."""
    answer = headline(material.report)
    blocks = [f"# Spin report: {escape(material.report['name'])}", f"**{escape(answer.title)}** {escape(answer.detail)}"]
    for section, contents in material.tables.items():
        blocks.append(f"## {section}")
        for content in contents:
            blocks += [f"### {content.title}", table(content)]
    return "\n\n".join(blocks) + "\n"


def table(content: Table) -> str:
    """A table in GitHub's Markdown, its note below."""
    rows = [map(escape, content.header), ("---" if column < content.texts else "---:" for column in range(len(content.header)))]
    rows += [[escape(f"{cell.text} ({cell.below})" if cell.below else cell.text) for cell in row] for row in content.rows]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return lines + (f"\n\n{escape(content.note)}" if content.note else "")


def escape(text: str) -> str:
    """Text that Markdown shows as it is: nothing in it starts a tag, a link, emphasis or another cell."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", " ".join(text.split("\n")))
