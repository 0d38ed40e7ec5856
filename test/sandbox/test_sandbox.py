#!/usr/bin/env python3
"""All tests of the sandbox, found in tests/: python3 test/sandbox/test_sandbox.py"""
import os
import unittest


def load_tests(loader: unittest.TestLoader, *_: object) -> unittest.TestSuite:
    return loader.discover(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'tests'))


if __name__ == '__main__':
    unittest.main()
