"""Print the documentation of a schema's keys: `python -m manifold_capacity.config schemas/config.schema.yaml`."""

import sys

from manifold_capacity.config.document import document
from manifold_capacity.config.schema import load_schema

sys.stdout.write(document(load_schema(sys.argv[1])))
