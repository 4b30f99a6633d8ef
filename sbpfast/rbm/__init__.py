"""The Gaussian-Bernoulli restricted Boltzmann machine."""

from sbpfast.rbm import plots
from sbpfast.rbm._estimator import GaussianBernoulliRBM
from sbpfast.rbm._partition import LogPartition, Moments
from sbpfast.rbm._training import TrainingDiverged

__all__ = ["GaussianBernoulliRBM", "LogPartition", "Moments", "TrainingDiverged", "plots"]
