"""Where version 1 of the contract had the checks for tests of plugins; now mcltool.plugin.conformance."""

from mcltool.plugin.conformance import Check, assert_conforms, run_checks

__all__ = ["Check", "assert_conforms", "run_checks"]
