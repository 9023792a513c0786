"""Transforms: a recipe says what may happen, a plan what does happen to one sample, a program how it is computed.

`recipe` → `plan` → `fuse` need numpy only; `run_cv` (one uint8 picture) and `run_torch` (a batch of tensors) run the same
program.
"""
