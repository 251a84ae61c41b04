"""Reads deployments with the models of Dynamo's profiler: YAML files in, one JSON line each out."""

import importlib.abc
import importlib.machinery
import json
import sys
from unittest.mock import MagicMock

import yaml

# The profiler's module imports the planner, whose predictors need packages that no model of a deployment uses.
UNUSED = {"sklearn", "aisimulate", "aisimulate_core", "pmdarima", "prophet", "filterpy", "aiconfigurator", "kubernetes"}


class Unused(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.split(".")[0] in UNUSED else None

    def create_module(self, spec):
        module = MagicMock()
        module.__path__ = []
        return module

    def exec_module(self, module):
        pass


sys.meta_path.append(Unused())

from dynamo.profiler.utils.config import Config, get_component_by_name, get_main_container  # noqa: E402

for file in sys.argv[1:]:
    with open(file) as text:
        config = Config.model_validate(yaml.safe_load(text))
    components = [
        {
            "name": one.name,
            "type": one.component_type,
            "replicas": one.replicas,
            "scaled": one.scalingAdapter is not None,
            "runtimeVersion": one.runtimeVersionOverride,
            "main": get_main_container(get_component_by_name(config, one.name)).model_dump(exclude_none=True),
        }
        for one in config.spec.components
    ]
    print(json.dumps({"name": config.metadata.name, "components": components}))
