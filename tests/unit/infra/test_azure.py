"""What Bicep makes is what the code expects: names, app settings, the event filter, roles; and it is closed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from local.programs.certificate import make_ssh_key
from preprocess.event import COMPLETE
from setting_text import default_text
from settings import FLAT, read_settings
from storage import keys
from tests.unit.infra.bicep import FILES, INFRA, Expression, bicep, parameters

ROOT = Path(__file__).parents[3]
APP = (ROOT / "function_app.py").read_text()
FUNCTION_APP = bicep("modules/function-app.bicep")
STORAGE = bicep("modules/storage.bicep")
ROLES = bicep("modules/roles.bicep")
EVENTS = bicep("events.bicep")
CONTAINERS = {keys.RAW_CONTAINER, keys.PROCESSED_CONTAINER, keys.STATE_CONTAINER, keys.DEAD_LETTER_CONTAINER}

OF_THE_PLATFORM = {
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED",
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__clientId",
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__queueServiceUri",
    "AzureWebJobsStorage__tableServiceUri",
    "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY",
    "PYTHON_APPLICATIONINSIGHTS_LOGGER_NAME",
    "DATA_STORAGE__credential",
}
SECRET = ("PASSWORD", "PRIVATE_KEY", "PASSPHRASE")

# https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
ROLE_IDS = {
    "Key Vault Secrets Officer": "b86a8fe4-44ce-4948-aee5-eccb2c155cd7",
    "Key Vault Secrets User": "4633458b-17de-408a-b874-0445c86b69e6",
    "Monitoring Metrics Publisher": "3913510d-42f4-4e42-8a64-420c390055eb",
    "Storage Blob Data Contributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "Storage Blob Data Owner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "Storage Blob Data Reader": "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
    "Storage Queue Data Contributor": "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
    "Storage Table Data Contributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
    "Storage Table Data Reader": "76199698-9eea-4c19-bc75-cec21354c6b6",
}


def test_containers_tables_and_queues_are_those_of_the_code() -> None:
    assert set(STORAGE.value("containerNames")) == CONTAINERS
    assert set(STORAGE.value("tableNames")) == {keys.ARCHIVES_TABLE, keys.BATCHES_TABLE, keys.IMAGES_TABLE}
    queues = {keys.POLL_QUEUE, keys.BATCH_QUEUE}
    assert set(STORAGE.value("queueNames")) == queues | {f"{queue}{keys.POISON}" for queue in queues}
    assert ROLES.value("deadLetters")["name"] == keys.DEAD_LETTER_CONTAINER


def test_lifecycle_rules_reach_every_container_and_move_raw_archives_alone() -> None:
    rules = [*STORAGE.value("rawRules"), *STORAGE.value("versionRules")]
    prefixes = {rule["name"]: set(rule["definition"]["filters"]["prefixMatch"]) for rule in rules}
    assert prefixes.pop("raw-tiers") == {f"{keys.RAW_CONTAINER}/"}
    assert set().union(*prefixes.values()) == {f"{container}/" for container in CONTAINERS}
    assert bicep("main.bicep").value("rawArchiveAfterDays") == 0


def test_the_event_subscription_asks_for_what_the_code_takes() -> None:
    found = EVENTS.value("rawArchives")["properties"]
    prefix = f"/blobServices/default/containers/{keys.RAW_CONTAINER}/blobs/"
    (by_api,) = found["filter"].pop("advancedFilters")
    assert (by_api["operatorType"], by_api["key"]) == ("StringIn", "data.api")
    assert set(by_api["values"]) == COMPLETE
    assert found["filter"] == {
        "includedEventTypes": ["Microsoft.Storage.BlobCreated"],
        "subjectBeginsWith": prefix,
        "subjectEndsWith": ".zip",
        "isSubjectCaseSensitive": False,
    }
    assert found["eventDeliverySchema"] == "EventGridSchema"
    assert "event: func.EventGridEvent" in APP


def test_events_go_to_the_published_function_one_by_one_and_are_never_dropped() -> None:
    found = EVENTS.value("rawArchives")["properties"]
    destination = found["destination"]
    function = destination["properties"]["resourceId"].text.strip("'").rpartition("/functions/")[2]
    assert function in _functions()
    assert (destination["endpointType"], destination["properties"]["maxEventsPerBatch"]) == ("AzureFunction", 1)
    assert "deliveryWithResourceIdentity" not in found
    dead_letters = found["deadLetterWithResourceIdentity"]
    assert dead_letters["identity"]["type"] == "UserAssigned"
    where = dead_letters["deadLetterDestination"]["properties"]
    assert where["blobContainerName"] == keys.DEAD_LETTER_CONTAINER


def _functions() -> set[str]:
    return set(re.findall(r'@app\.function_name\("(\w+)"\)', APP))


def _app_settings() -> dict[str, Any]:
    """Evaluate the template's union of app settings for the parameter file; what Azure fills in becomes a stand-in."""
    given, settings = parameters(), FUNCTION_APP.value("settings")["properties"]
    assert settings == Expression("union(defaults, appSettings, sourceSettings, secrets, fixed)")
    secrets = dict.fromkeys(given["sourceSecrets"], "from the key vault")
    groups = (FUNCTION_APP.value("defaults"), given["appSettings"], given["sourceSettings"], secrets)
    together = {name: value for group in (*groups, FUNCTION_APP.value("fixed")) for name, value in group.items()}
    schedules = {"POLL_SCHEDULE": "pollSchedule", "RECONCILE_SCHEDULE": "reconcileSchedule"}
    return together | {name: bicep("main.bicep").value(parameter) for name, parameter in schedules.items()}


def test_the_app_reads_what_the_template_sets() -> None:
    environ = {name: value if isinstance(value, str) else value.text for name, value in _app_settings().items()}
    (example,) = (name for name, value in environ.items() if "AAAA..." in value)
    chosen = read_settings({**environ, example: make_ssh_key().public})
    assert chosen.storage.connection is None
    assert None not in (chosen.storage.blob, chosen.storage.queue, chosen.storage.table, chosen.storage.client_id)
    assert chosen.sources


def test_every_app_setting_is_known_to_the_app_or_to_the_platform() -> None:
    decided = FUNCTION_APP.value("defaults").keys() | FUNCTION_APP.value("fixed").keys()
    assert decided - FLAT.keys() == OF_THE_PLATFORM


def test_nothing_is_set_that_breaks_a_keyless_flex_app() -> None:
    everything = "".join(re.sub(r"//.*", "", path.read_text()) for path in FILES)
    for forbidden in (r"AzureWebJobsStorage\b(?!__)", "FUNCTIONS_", "WEBSITE_", "listKeys", "AccountKey", "_SAS"):
        assert re.search(forbidden, everything) is None, forbidden


def test_what_triggers_read_from_app_settings_is_set_to_the_default_of_the_app() -> None:
    read_by_triggers = set(re.findall(r'"%(\w+)%"', APP))
    decided = _app_settings()
    assert {name: decided[name] for name in read_by_triggers} == {n: default_text(FLAT[n]) for n in read_by_triggers}
    for connection in set(re.findall(r'connection="(\w+)"', APP)):
        assert {f"{connection}__queueServiceUri", f"{connection}__credential", f"{connection}__clientId"} <= set(
            decided
        )


def test_telemetry_is_exported_once_and_holds_our_own_loggers_alone() -> None:
    defaults = FUNCTION_APP.value("defaults")
    logger = re.search(r'getLogger\(f"(\w+)\.\{__name__\}"\)', APP)
    assert logger
    assert defaults["PYTHON_APPLICATIONINSIGHTS_LOGGER_NAME"] == logger[1]
    assert defaults["PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY"] == "true"
    assert json.loads((ROOT / "host.json").read_text())["telemetryMode"] == "OpenTelemetry"
    assert (defaults["OTEL_TRACES_SAMPLER"], defaults["OTEL_TRACES_SAMPLER_ARG"]) == (
        "microsoft.fixed_percentage",
        "1.0",
    )


def test_no_secret_is_a_parameter() -> None:
    given = parameters()
    assert not [name for name in given["sourceSettings"] if name.endswith(SECRET)]
    assert all(name.endswith(SECRET) for name in given["sourceSecrets"])
    references = bicep("modules/function-app.bicep").value("secrets").text
    assert "@Microsoft.KeyVault(SecretUri=" in references
    assert FUNCTION_APP.value("app")["properties"]["keyVaultReferenceIdentity"] == Expression("identityId")


def test_the_app_runs_what_the_project_is_written_for() -> None:
    config = FUNCTION_APP.value("app")["properties"]["functionAppConfig"]
    assert config["runtime"] == {"name": "python", "version": (ROOT / ".python-version").read_text().strip()}
    assert FUNCTION_APP.value("plan")["sku"] == {"tier": "FlexConsumption", "name": "FC1"}
    assert config["deployment"]["storage"]["authentication"]["type"] == "UserAssignedIdentity"
    ready = [group["name"].removeprefix("function:") for group in FUNCTION_APP.value("alwaysReady")]
    assert set(ready) <= _functions()


@pytest.mark.parametrize("name", ["modules/roles.bicep", "modules/people.bicep"])
def test_a_role_has_its_own_id_and_every_assignment_is_deterministic(name: str) -> None:
    file = bicep(name)
    roles = file.value("roles")
    assert roles == {role: ROLE_IDS[role] for role in roles}
    assignments = [d for d in file.of("resource").values() if d.type.startswith("Microsoft.Authorization/")]
    for assignment in assignments:
        value = assignment.value
        role = re.fullmatch(r"definitions\['(.+)'\]", value["properties"]["roleDefinitionId"].text)
        assert role
        scope, principal = value["scope"].text, value["properties"]["principalId"].text
        assert value["name"] == Expression(f"guid({scope}.id, {principal}, roles['{role[1]}'])")


def test_the_identities_may_do_no_more_than_they_must() -> None:
    granted = {
        (d.value["properties"]["principalId"].text, d.value["scope"].text, d.value["name"].text.split("'")[1])
        for d in ROLES.of("resource").values()
        if d.type.startswith("Microsoft.Authorization/")
    }
    assert granted == {
        ("appPrincipalId", "hostAccount", "Storage Blob Data Owner"),
        ("appPrincipalId", "hostAccount", "Storage Table Data Contributor"),
        ("appPrincipalId", "containers[i]", "Storage Blob Data Contributor"),
        ("appPrincipalId", "dataAccount", "Storage Queue Data Contributor"),
        ("appPrincipalId", "dataAccount", "Storage Table Data Contributor"),
        ("appPrincipalId", "insights", "Monitoring Metrics Publisher"),
        ("appPrincipalId", "vault", "Key Vault Secrets User"),
        ("topicPrincipalId", "deadLetters", "Storage Blob Data Contributor"),
    }


@pytest.mark.parametrize("name", ["modules/storage.bicep", "modules/host-storage.bicep"])
def test_storage_has_no_keys_no_public_blobs_and_can_undelete(name: str) -> None:
    account = bicep(name).value("account")["properties"]
    wanted = {
        "allowBlobPublicAccess": False,
        "allowSharedKeyAccess": False,
        "allowCrossTenantReplication": False,
        "minimumTlsVersion": "TLS1_2",
        "supportsHttpsTrafficOnly": True,
    }
    assert wanted.items() <= account.items()
    assert account["networkAcls"]["bypass"] == "AzureServices"
    assert account["networkAcls"]["defaultAction"] == Expression("closed ? 'Deny' : 'Allow'")
    blobs = bicep(name).value("blobs")["properties"]
    assert all(blobs[kind]["enabled"] for kind in ("deleteRetentionPolicy", "containerDeleteRetentionPolicy"))
    containers = [d for d in bicep(name).of("resource").values() if "/containers@" in d.type]
    assert [d.value["properties"] for d in containers] == [{"publicAccess": "None"}]


def test_versions_are_kept_where_the_account_allows_them() -> None:
    assert STORAGE.value("account")["properties"]["isHnsEnabled"] == Expression("hierarchicalNamespace")
    assert STORAGE.value("blobs")["properties"]["isVersioningEnabled"] == Expression("!hierarchicalNamespace")


def test_nobody_gets_in_by_password_or_without_tls() -> None:
    site = FUNCTION_APP.value("app")["properties"]
    assert (site["httpsOnly"], site["siteConfig"]["minTlsVersion"], site["siteConfig"]["scmMinTlsVersion"]) == (
        True,
        "1.2",
        "1.2",
    )
    assert site["siteConfig"]["ftpsState"] == "Disabled"
    doors = [FUNCTION_APP.value(name) for name in ("noScmPassword", "noFtpPassword")]
    assert [(door["name"], door["properties"]["allow"]) for door in doors] == [("scm", False), ("ftp", False)]
    vault = bicep("modules/key-vault.bicep").value("vault")["properties"]
    assert vault["enableRbacAuthorization"]
    assert vault["enablePurgeProtection"]
    monitoring = bicep("modules/monitoring.bicep")
    assert monitoring.value("insights")["properties"]["DisableLocalAuth"]
    assert monitoring.value("workspace")["properties"]["features"]["disableLocalAuth"]


def test_a_closed_app_still_hears_event_grid() -> None:
    assert FUNCTION_APP.value("app")["properties"]["publicNetworkAccess"] == "Enabled"
    (rule,) = FUNCTION_APP.value("fromEventGrid")
    assert (rule["action"], rule["tag"], rule["ipAddress"]) == ("Allow", "ServiceTag", "AzureEventGrid")
    rules = FUNCTION_APP.value("app")["properties"]["siteConfig"]["ipSecurityRestrictions"]
    assert rules == Expression("closed ? concat(fromEventGrid, allowed) : []")


def test_flex_consumption_takes_the_subnet_and_the_number_of_instances() -> None:
    network = bicep("modules/network.bicep").value("network")["properties"]
    functions, endpoints = network["subnets"]
    assert not [subnet["name"] for subnet in (functions, endpoints) if "_" in subnet["name"]]
    delegated = functions["properties"]["delegations"][0]["properties"]["serviceName"]
    assert (delegated, "natGateway" in functions["properties"]) == ("Microsoft.App/environments", True)
    assert "@minValue(40)\n@maxValue(1000)\nparam maximumInstances int = 40" in (INFRA / "main.bicep").read_text()
