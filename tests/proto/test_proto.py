"""The proto files and what is generated from them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet

import cached._proto

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "proto/generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def files(generator: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> list[FileDescriptorProto]:
    out = tmp_path_factory.mktemp("descriptors") / "all"
    generator.compile_protos(f"--descriptor_set_out={out}", "--include_source_info")
    return list(FileDescriptorSet.FromString(out.read_bytes()).file)


@pytest.fixture(scope="module")
def own(files: list[FileDescriptorProto]) -> list[FileDescriptorProto]:
    """Those of our own protocols; in others', names and numbers are given."""
    return [file for file in files if file.package == "cached.v1"]


def texts(package: Path) -> dict[str, str]:
    return {
        str(path.relative_to(package)): path.read_text()
        for path in package.rglob("*")
        if path.suffix in (".py", ".pyi")
    }


def test_generated_code_is_fresh(generator: ModuleType, tmp_path: Path) -> None:
    """Run `make proto` when it is not."""
    generator.generate(tmp_path)
    committed = texts(Path(str(cached._proto.__file__)).parent)
    assert texts(tmp_path) == committed
    wanted = {"v1/cache_pb2_grpc.pyi", "runtime/v1/images_pb2_grpc.pyi", "csi/v1/csi_pb2_grpc.pyi"}
    assert wanted <= committed.keys()


def test_generated_code_clashes_with_nobody(generator: ModuleType, tmp_path: Path) -> None:
    """All of it imports itself from `cached._proto`, and other packages only from elsewhere."""
    generator.generate(tmp_path)
    tops = {place.name for place in tmp_path.iterdir()} | {"cached"}
    for place, text in texts(tmp_path).items():
        for name in re.findall(r"^(?:from|import) ([\w.]+)", text, re.MULTILINE):
            assert name.startswith("cached._proto.") or name.split(".")[0] not in tops, (place, name)


def places(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    """Each message, field, enum, value, service and method, by its place in the file."""
    found: dict[tuple[int, ...], str] = {}

    def add(message: DescriptorProto, place: tuple[int, ...], name: str) -> None:
        found[place] = name
        for n, field in enumerate(message.field):
            found[(*place, 2, n)] = f"{name}.{field.name}"
        for n, nested in enumerate(message.nested_type):
            if nested.options.map_entry:  # protoc makes them of `map<…>`
                continue
            add(nested, (*place, 3, n), f"{name}.{nested.name}")

    for n, message in enumerate(file.message_type):
        add(message, (4, n), message.name)
    for n, enum in enumerate(file.enum_type):
        found[(5, n)] = enum.name
        for v, value in enumerate(enum.value):
            found[(5, n, 2, v)] = f"{enum.name}.{value.name}"
    for n, service in enumerate(file.service):
        found[(6, n)] = service.name
        for m, method in enumerate(service.method):
            found[(6, n, 2, m)] = f"{service.name}.{method.name}"
    return found


def test_everything_is_documented(files: list[FileDescriptorProto]) -> None:
    assert {file.name for file in files} == {
        "containerd/services/images/v1/images.proto",
        "containerd/types/descriptor.proto",
        "csi/v1/csi.proto",
        "pluginregistration/v1/api.proto",
        "runtime/v1/images.proto",
        *(f"cached/v1/{n}.proto" for n in ("cache", "operator", "peer", "types")),
    }
    for file in files:
        commented = {tuple(place.path) for place in file.source_code_info.location if place.leading_comments}
        wanted = places(file)
        assert len(wanted) > 1
        assert [name for place, name in wanted.items() if place not in commented] == []


def test_names_follow_the_style_of_protobuf(own: list[FileDescriptorProto]) -> None:
    """As `buf lint` would have it: requests and answers of their own, prefixed enum values."""
    assert len(own) == 4
    for file in own:
        for service in file.service:
            assert service.name.endswith("Service")
            for method in service.method:
                assert method.input_type == f".cached.v1.{method.name}Request"
                assert method.output_type == f".cached.v1.{method.name}Response"
        for enum in file.enum_type:
            prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper()
            assert enum.value[0].name == f"{prefix}_UNSPECIFIED"
            assert all(value.name.startswith(f"{prefix}_") for value in enum.value)
        for message in file.message_type:
            assert all(re.fullmatch(r"[a-z][a-z0-9_]*", field.name) for field in message.field)
