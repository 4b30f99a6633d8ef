"""python -m sbpfast: gradients of expectations on a Bayesian regression, and the Gaussian fitted to its posterior."""

from __future__ import annotations

import argparse
import os
import sys

import sbpfast
from sbpfast._command import fit, tour


def main(arguments=None) -> int:
    called = os.path.basename(sys.argv[0])
    program = "sbpfast" if called == "sbpfast" else "python -m sbpfast"
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.add_argument("--version", action="version", version=f"sbpfast {sbpfast.__version__}")
    parser.add_argument("--n-samples", type=int, help="draws of each estimator (default 4096)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default 0)")
    parser.add_argument("--plot", metavar="FILE", help="draw error against time for every estimator (needs matplotlib)")
    commands = parser.add_subparsers(dest="command", metavar="fit", title="your own data")
    about = "a Bayesian regression of a table: a table of coefficients with intervals, ELBO and k-hat"
    fit_parser = commands.add_parser("fit", help=about, description=about)
    fit.add_arguments(fit_parser, seed=argparse.SUPPRESS, plot=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.command == "fit":
        if options.n_samples is not None:
            parser.error("--n-samples is not an option of fit")
        return fit.run(options)
    if options.n_samples is None:
        options.n_samples = 4096
    if options.n_samples < 2:
        parser.error("--n-samples must be at least 2")
    if options.seed < 0:
        parser.error("--seed must not be negative")
    return tour.show(options)


if __name__ == "__main__":
    sys.exit(main())
