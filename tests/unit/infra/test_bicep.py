"""Bicep files hold together: they parse, every name means something, modules get what they take."""

import pytest

from tests.unit.infra.bicep import FILES, INFRA, bicep, parameters

NAMES = [str(path.relative_to(INFRA)) for path in FILES]
# https://learn.microsoft.com/azure/azure-resource-manager/bicep/bicep-functions
FUNCTIONS = frozenset(
    """
    any array base64 base64ToJson base64ToString bool cidrHost cidrSubnet coalesce concat contains dataUri
    dataUriToString dateTimeAdd dateTimeFromEpoch dateTimeToEpoch deployer deployment empty endsWith environment
    extensionResourceId filter first flatten format groupBy guid indexOf int intersection items join json last
    lastIndexOf length
    loadFileAsBase64 loadJsonContent loadTextContent loadYamlContent managementGroup map mapValues max min newGuid
    objectKeys padLeft parseCidr pickZones range reduce replace resourceGroup resourceId shallowMerge skip sort split
    startsWith string subscription subscriptionResourceId substring take tenant tenantResourceId toLower toObject
    toUpper trim union uniqueString uri uriComponent uriComponentToString utcNow
    allowed description discriminator export maxLength maxValue metadata minLength minValue sealed secure
    """.split()  # noqa: SIM905 -- a list of this length reads better as text
)
PYTHON_TYPES = {"string": str, "int": int, "bool": bool, "object": dict, "array": list}


def test_there_is_something_to_check() -> None:
    assert {"main.bicep", "events.bicep", "modules/storage.bicep"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_bicep(name: str) -> None:
    assert bicep(name).errors() == []


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_and_output_is_described(name: str) -> None:
    found = bicep(name).declared
    bare = [d.name for d in found if d.kind in {"parameter", "output"} and len(d.description) < 10]
    assert bare == []


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_declared_and_every_declaration_is_used(name: str) -> None:
    file = bicep(name)
    known = {d.name for d in file.declared if d.kind != "output"}
    assert file.used() - known == set()
    assert file.calls() - FUNCTIONS == set()
    idle = {d.name for d in file.declared if d.kind in {"parameter", "variable"} or " existing " in str(d.node.text)}
    assert idle - file.used() - {"functions", "endpoints"} == set()


@pytest.mark.parametrize("name", NAMES)
def test_modules_get_what_they_take_and_give_what_is_asked_of_them(name: str) -> None:
    file = bicep(name)
    modules = {
        symbol: (call, bicep(str((file.path.parent / call.type).relative_to(INFRA))))
        for symbol, call in file.of("module").items()
    }
    for symbol, (call, module) in modules.items():
        given, taken = call.value["params"], module.of("parameter")
        assert given.keys() - taken.keys() == set(), f"{symbol} does not take these"
        assert {n for n, p in taken.items() if not p.optional} - given.keys() == set(), f"{symbol} needs these"
        for parameter, value in given.items():
            passed = file.of("parameter").get(getattr(value, "text", ""))
            assert passed is None or passed.type == taken[parameter].type, f"{symbol}: type of {parameter}"
    for symbol, output in file.outputs_used():
        assert output in modules[symbol][1].of("output"), f"{symbol} has no output {output}"


def test_the_parameter_file_sets_what_there_is_to_be_set() -> None:
    taken = bicep("main.bicep").of("parameter")
    given = parameters()
    assert given.keys() - taken.keys() == set()
    assert {n for n, p in taken.items() if not p.optional} - given.keys() == set()
    wrong = {n for n, value in given.items() if type(value) is not PYTHON_TYPES[taken[n].type]}
    assert wrong == set()
    texts = {**given["sourceSettings"], **given["sourceSecrets"], **given["appSettings"]}
    assert {name for name, value in texts.items() if not isinstance(value, str)} == set()


def test_a_resource_and_its_children_have_one_api_version() -> None:
    versions: dict[str, set[str]] = {}
    for name in NAMES:
        for resource in bicep(name).of("resource").values():
            kind, _, version = resource.type.partition("@")
            family = "/".join(kind.split("/")[:2])
            versions.setdefault(family, set()).add(version)
    assert {family: found for family, found in versions.items() if len(found) > 1} == {}
