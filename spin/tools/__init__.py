"""What no stage needs: benchmarks, the GPU check, converters, the layer sweep, results tables."""
