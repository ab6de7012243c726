"""GLUE at its edges: labels that cannot be separated, degenerate points, arguments, the solver."""

import numpy as np
import pytest
from scipy.optimize import nnls
from test_glue import clouds, images, quiet

from manifold_capacity import DegenerateManifoldsError, Glue, measure_glue
from manifold_capacity.geometry.cone_solver import ConeSolver
from manifold_capacity.geometry.cones import different_points
from manifold_capacity.geometry.glue import glue_from_samples
from manifold_capacity.geometry.gram import gram_from_arrays
