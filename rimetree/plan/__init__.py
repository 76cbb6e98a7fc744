"""From families to numbers: subsets, dependencies, the compiled evaluator, the oracle, the lowering."""
