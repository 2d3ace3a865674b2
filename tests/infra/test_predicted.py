"""The resources of a deployment, for several sets of parameters: as the code expects, closed, and valid for Azure.

The compiler checks types only. The services' documents, which the tests name, say which values a deployment refuses.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from config.settings import FLAT, PER_SOURCE, Settings, read_settings
from imagefeed import layout as keys
from local.docs import default_text
from local.servers.certificate import make_ssh_key
from preprocess.event import COMPLETE
from tests.tools.bicep import GROUP, INFRA, SUBSCRIPTION, Deployment, given, predict, refusal

ROOT = INFRA.parent
APP = (ROOT / "function_app.py").read_text()
EXAMPLE = "".join(re.split(r"^using .*\n", (INFRA / "main.bicepparam").read_text(), flags=re.MULTILINE))
NAMES = ("RADAR", "NORTH", "SOUTH_2", "E", "W", "UP", "DOWN", "A_B_C")
ADDRESSES = ["203.0.113.7", "203.0.113.8"]
OPERATOR, READER = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
TOPIC = "33333333-3333-3333-3333-333333333333"


def with_sources(*names: str, **more: object) -> str:
    """Return parameters with these sources, besides others."""
    settings = {f"SOURCES__{name}__URL": "sftp://user@host.example/outgoing" for name in names}
    settings |= {f"SOURCES__{name}__HOST_KEY": make_ssh_key().public for name in names}
    settings |= {f"SOURCES__{name}__INTERVAL": "1h" for name in names if name == "SOUTH_2"}
    settings |= {f"SOURCES__{name}__ACTIVE": "Mo-Su 06:00-20:00 UTC" for name in names if name == "UP"}
    secrets = {f"SOURCES__{name}__PASSWORD": f"{name.lower().replace('_', '-')}-password" for name in names}
    return given(sourceSettings=settings, sourceSecretNames=secrets, **more)


CASES = {
    "example": EXAMPLE,
    "closed": with_sources(
        "RADAR",
        privateEndpoints=True,
        allowedAddresses=[*ADDRESSES, *ADDRESSES],
        alwaysReadyInstances=0,
        maximumInstances=1,
        operatorIds=[OPERATOR, OPERATOR],
        readerIds=[READER, READER],
        lockDataAccount=True,
        monthlyBudget=100,
        budgetStart="2026-12-01",
        alertEmail="operator@mail.example",
        alertFrequency="PT5M",
    ),
    "fixed address": with_sources(
        "RADAR", fixedOutboundAddress=True, instanceMemoryMB=512, maximumInstances=1000, existingTopicName="ours"
    ),
    "data lake": with_sources("RADAR", hierarchicalNamespace=True, alertFrequency="PT30M", name="im"),
    "archive tier": with_sources(
        "RADAR",
        storageRedundancy="Standard_LRS",
        rawArchiveAfterDays=180,
        alertFrequency="PT1H",
        name="images2026",
    ),
    "existing topic": with_sources("RADAR", existingTopicName="theirs", existingTopicGroup="shared"),
    "eight sources": with_sources(*NAMES, appSettings={"COPY_BUDGET": "40s", "POLL_SCHEDULE": ""}),
}
DATA_ROLES = {
    "Storage Blob Data Contributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "Storage Queue Data Contributor": "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
    "Storage Table Data Contributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
}
# https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
ROLES = DATA_ROLES | {
    "Key Vault Secrets Officer": "b86a8fe4-44ce-4948-aee5-eccb2c155cd7",
    "Key Vault Secrets User": "4633458b-17de-408a-b874-0445c86b69e6",
    "Monitoring Metrics Publisher": "3913510d-42f4-4e42-8a64-420c390055eb",
    "Storage Blob Data Owner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "Storage Blob Data Reader": "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
    "Storage Table Data Reader": "76199698-9eea-4c19-bc75-cec21354c6b6",
}
OF_THE_PLATFORM = {
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED",
    "AZURE_TRACING_DISABLED",
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__clientId",
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__queueServiceUri",
    "AzureWebJobsStorage__tableServiceUri",
    "DATA_STORAGE__credential",
    "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY",
    "PYTHON_APPLICATIONINSIGHTS_LOGGER_NAME",
}

# https://learn.microsoft.com/azure/azure-functions/functions-app-settings#flex-consumption-plan-deprecations
DEPRECATED_PROPERTIES = {
    "alwaysOn",
    "containerSize",
    "ftpsState",
    "functionAppScaleLimit",
    "isReserved",
    "isXenon",
    "javaVersion",
    "linuxFxVersion",
    "netFrameworkVersion",
    "powerShellVersion",
    "preWarmedInstanceCount",
    "use32BitWorkerProcess",
    "vnetBackupRestoreEnabled",
    "vnetContentShareEnabled",
    "vnetImagePullEnabled",
    "vnetRouteAllEnabled",
    "windowsFxVersion",
}
# As above, and the two of https://learn.microsoft.com/azure/azure-functions/functions-app-settings#website_time_zone
DEPRECATED_SETTINGS = {
    "ENABLE_ORYX_BUILD",
    "FUNCTIONS_EXTENSION_VERSION",
    "FUNCTIONS_MAX_HTTP_CONCURRENCY",
    "FUNCTIONS_WORKER_DYNAMIC_CONCURRENCY_ENABLED",
    "FUNCTIONS_WORKER_PROCESS_COUNT",
    "FUNCTIONS_WORKER_RUNTIME",
    "FUNCTIONS_WORKER_RUNTIME_VERSION",
    "SCM_DO_BUILD_DURING_DEPLOYMENT",
    "TZ",
    "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING",
    "WEBSITE_CONTENTOVERVNET",
    "WEBSITE_CONTENTSHARE",
    "WEBSITE_DNS_SERVER",
    "WEBSITE_MAX_DYNAMIC_APPLICATION_SCALE_OUT",
    "WEBSITE_NODE_DEFAULT_VERSION",
    "WEBSITE_RUN_FROM_PACKAGE",
    "WEBSITE_SKIP_CONTENTSHARE_VALIDATION",
    "WEBSITE_TIME_ZONE",
    "WEBSITE_VNET_ROUTE_ALL",
}

pytestmark = pytest.mark.timeout(300)  # the compiler takes 4 seconds for each case, many more on a busy machine


@pytest.fixture(params=CASES)
def made(request: pytest.FixtureRequest) -> Deployment:
    return predict(CASES[request.param])


def case(name: str) -> Deployment:
    return predict(CASES[name])


def test_the_source_on_the_page_is_deployed_with_its_password_from_the_key_vault() -> None:
    (block,) = re.findall(r"^```bicep\n(.*?)^```$", (ROOT / "docs/deploy.md").read_text(), re.MULTILINE | re.DOTALL)
    settings = app_settings(predict(block))
    assert settings["SOURCES__RADAR__URL"] == "sftp://user@host.example:22/outgoing"
    assert re.search(r"SecretUri=.*radar-password", settings["SOURCES__RADAR__PASSWORD"])


def subscribe(principal: str, topic_group: str = GROUP) -> Deployment:
    lines = given(
        functionAppName="app",
        dataAccountName="data",
        topicName="topic",
        topicGroup=topic_group,
        topicPrincipalId=principal,
    )
    return predict(lines, "events.bicep")


def app_settings(made: Deployment) -> Mapping[str, Any]:
    settings: Mapping[str, Any] = made.resource("Microsoft.Web/sites/config", "/appsettings")["properties"]
    return settings


def data_account(made: Deployment) -> Mapping[str, Any]:
    return made.resource("Microsoft.Storage/storageAccounts", made.outputs["dataAccountName"])


def names_in(made: Deployment, kind: str) -> set[str]:
    account = made.outputs["dataAccountName"]
    entries = made.resources(f"Microsoft.Storage/storageAccounts/{kind}")
    return {resource["name"].rpartition("/")[2] for resource in entries if resource["name"].startswith(f"{account}/")}


def keys_of(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from value
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from keys_of(item)


def grants(made: Deployment) -> set[tuple[str, str, str]]:
    """The principals' roles on each resource, by the end of its id."""
    roles = {id_: role for role, id_ in ROLES.items()}
    return {
        (
            _principal(assignment["properties"]["principalId"]),
            roles[assignment["properties"]["roleDefinitionId"].rpartition("/")[2]],
            _scope(assignment),
        )
        for assignment in made.resources("Microsoft.Authorization/roleAssignments")
    }


def _principal(text: str) -> str:
    match = re.search(r"userAssignedIdentities/([\w-]+)'", text)
    return match[1] if match else text


def _scope(assignment: Mapping[str, Any]) -> str:
    match = re.search(r"/([\w-]+)(?:/providers/Microsoft\.Authorization|',)", assignment["id"])
    assert match
    return match[1]


# The app and its settings.


def test_the_app_reads_what_the_template_sets(made: Deployment) -> None:
    known = {name: "known in Azure" if value.startswith("[") else value for name, value in app_settings(made).items()}
    # The example has no key of a real server.
    environ = {n: make_ssh_key().public if v.endswith("AAAA...") else v for n, v in known.items()}
    settings = read_settings(environ)
    assert isinstance(settings, Settings)
    assert settings.storage.connection is None
    assert None not in (
        settings.storage.blob,
        settings.storage.queue,
        settings.storage.table,
        settings.storage.client_id,
    )
    assert settings.sources


def test_each_of_eight_sources_is_read_with_its_settings() -> None:
    made = case("eight sources")
    environ = {name: "x" if value.startswith("[") else value for name, value in app_settings(made).items()}
    sources = read_settings(environ).sources
    assert set(sources) == {"radar", "north", "south-2", "e", "w", "up", "down", "a-b-c"}
    assert sources["south-2"].spec.interval == timedelta(hours=1)
    assert set(made.outputs["secretNames"]) == {f"{name}-password" for name in sources}


def test_every_app_setting_is_known_to_the_app_or_to_the_platform() -> None:
    settings = {name for name in app_settings(case("example")) if not name.startswith("SOURCES__")}
    assert settings - FLAT.keys() == OF_THE_PLATFORM


def test_what_triggers_read_from_app_settings_is_set_to_the_default_of_the_app(made: Deployment) -> None:
    settings = app_settings(made)
    read_by_triggers = set(re.findall(r'"%(\w+)%"', APP))
    assert {n: settings[n] for n in read_by_triggers} == {n: default_text(FLAT[n]) for n in read_by_triggers}
    for connection in set(re.findall(r'connection="(\w+)"', APP)):
        needed = {f"{connection}__queueServiceUri", f"{connection}__credential", f"{connection}__clientId"}
        assert needed <= settings.keys()
        twin = f"azurewebjobs{connection}".casefold()
        assert [name for name in settings if name.split("__")[0].casefold() == twin] == []


def test_telemetry_is_exported_once_and_holds_our_own_loggers_alone(made: Deployment) -> None:
    settings = app_settings(made)
    logger = re.search(r'getLogger\(f"(\w+)\.\{__name__\}"\)', APP)
    assert logger
    assert settings["PYTHON_APPLICATIONINSIGHTS_LOGGER_NAME"] == logger[1]
    assert settings["PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY"] == "true"
    assert json.loads((ROOT / "host.json").read_text())["telemetryMode"] == "OpenTelemetry"
    assert settings["OTEL_TRACES_SAMPLER"] == "microsoft.fixed_percentage"
    assert settings["OTEL_TRACES_SAMPLER_ARG"] == "1.0"


def test_nothing_is_set_that_flex_consumption_deprecates_or_that_holds_a_key(made: Deployment) -> None:
    site = made.resource("Microsoft.Web/sites")
    deprecated = {name.casefold() for name in DEPRECATED_PROPERTIES}
    assert [name for name in keys_of(site["properties"]) if name.casefold() in deprecated] == []
    settings = app_settings(made)
    assert DEPRECATED_SETTINGS & settings.keys() == set()
    assert "AzureWebJobsStorage" not in settings
    assert not [value for value in settings.values() if re.search("AccountKey|listKeys|[?&]sig=", value)]


def test_a_setting_that_flex_consumption_deprecates_or_the_template_decides_is_refused() -> None:
    decided = ["AzureWebJobsStorage", "AzureWebJobsData_Storage__queueServiceUri", "data_storage__clientId"]
    wanted = [*sorted(name.lower() for name in DEPRECATED_SETTINGS), *decided]
    groups = ("appSettings", "sourceSettings", "sourceSecretNames")
    message = refusal(given(**{group: dict.fromkeys(wanted[i::3], "x") for i, group in enumerate(groups)}))
    assert message.startswith("appSettings must not hold ")
    assert set(message.removeprefix("appSettings must not hold ").partition(": ")[0].split(", ")) == set(wanted)


def test_no_secret_is_in_a_setting() -> None:
    made = case("eight sources")
    secret = {name: value for name, value in app_settings(made).items() if name.endswith("__PASSWORD")}
    assert len(secret) == len(NAMES)
    for name, value in secret.items():
        source = name.split("__")[1].lower().replace("_", "-")
        assert value.startswith("[format('@Microsoft.KeyVault(SecretUri={0}secrets/{1})', reference(")
        assert value.endswith(f"'{source}-password')]")


def test_the_app_runs_what_the_project_is_written_for(made: Deployment) -> None:
    site = made.resource("Microsoft.Web/sites")
    config = site["properties"]["functionAppConfig"]
    assert config["runtime"] == {"name": "python", "version": (ROOT / ".python-version").read_text().strip()}
    assert made.resource("Microsoft.Web/serverfarms")["sku"] == {"tier": "FlexConsumption", "name": "FC1"}
    assert config["deployment"]["storage"]["authentication"]["type"] == "UserAssignedIdentity"
    assert site["properties"]["keyVaultReferenceIdentity"] in site["identity"]["userAssignedIdentities"]
    functions = re.findall(r'@app\.function_name\("(\w+)"\)', APP)
    scale = config["scaleAndConcurrency"]
    assert {ready["name"].removeprefix("function:") for ready in scale["alwaysReady"]} <= set(functions)
    assert scale["maximumInstanceCount"] >= sum(ready["instanceCount"] for ready in scale["alwaysReady"])


# https://learn.microsoft.com/azure/azure-functions/flex-consumption-plan: instance sizes, and 1,000 instances at most
def test_instances_are_as_many_and_as_large_as_asked_for() -> None:
    asked = {}
    for name in ("example", "closed", "fixed address"):
        config = case(name).resource("Microsoft.Web/sites")["properties"]["functionAppConfig"]["scaleAndConcurrency"]
        asked[name] = (config["instanceMemoryMB"], config["maximumInstanceCount"], len(config["alwaysReady"]))
    assert asked == {"example": (2048, 40, 1), "closed": (2048, 1, 0), "fixed address": (512, 1000, 1)}


def test_what_is_wrong_is_told_at_once() -> None:
    message = refusal(with_sources("RADAR", alwaysReadyInstances=3, maximumInstances=2, name="Images"))
    assert message == (
        "name must be lower-case letters and digits. "
        "alwaysReadyInstances (3) must not be more than maximumInstances (2)"
    )


# Storage.


def test_containers_tables_and_queues_are_those_of_the_code(made: Deployment) -> None:
    containers = {keys.RAW_CONTAINER, keys.PROCESSED_CONTAINER, keys.STATE_CONTAINER, keys.DEAD_LETTER_CONTAINER}
    assert names_in(made, "blobServices/containers") == containers
    tables = {keys.ARCHIVES_TABLE, keys.BATCHES_TABLE, keys.IMAGES_TABLE}
    assert names_in(made, "tableServices/tables") == tables
    queues = {keys.POLL_QUEUE, keys.BATCH_QUEUE}
    assert names_in(made, "queueServices/queues") == queues | {f"{queue}{keys.POISON}" for queue in queues}


def test_storage_has_no_keys_no_public_blobs_and_can_undelete(made: Deployment) -> None:
    accounts = made.resources("Microsoft.Storage/storageAccounts")
    assert len(accounts) == 2
    wanted = {
        "allowBlobPublicAccess": False,
        "allowSharedKeyAccess": False,
        "allowCrossTenantReplication": False,
        "minimumTlsVersion": "TLS1_2",
        "supportsHttpsTrafficOnly": True,
    }
    for account in accounts:
        assert wanted.items() <= account["properties"].items()
        assert re.fullmatch("[a-z0-9]{3,24}", account["name"])
    for blobs in made.resources("Microsoft.Storage/storageAccounts/blobServices"):
        kinds = ("deleteRetentionPolicy", "containerDeleteRetentionPolicy")
        assert all(blobs["properties"][kind]["enabled"] for kind in kinds)
    containers = made.resources("Microsoft.Storage/storageAccounts/blobServices/containers")
    assert [c["properties"] for c in containers] == [{"publicAccess": "None"}] * len(containers)


def test_versions_are_kept_where_the_account_allows_them(made: Deployment) -> None:
    account = data_account(made)
    blobs = made.resource("Microsoft.Storage/storageAccounts/blobServices", f"{account['name']}/default")
    assert blobs["properties"]["isVersioningEnabled"] is not account["properties"]["isHnsEnabled"]
    assert account["properties"]["isHnsEnabled"] is (made == case("data lake"))


# https://learn.microsoft.com/azure/storage/blobs/lifecycle-management-policy-structure#rule-actions
def test_lifecycle_rules_are_taken_by_storage_and_move_raw_archives_alone(made: Deployment) -> None:
    account = data_account(made)
    rules = made.resource("Microsoft.Storage/storageAccounts/managementPolicies")["properties"]["policy"]["rules"]
    for rule in rules:
        actions, prefixes = rule["definition"]["actions"], rule["definition"]["filters"]["prefixMatch"]
        assert all(prefix.removesuffix("/") in names_in(made, "blobServices/containers") for prefix in prefixes)
        for name, action in actions.get("baseBlob", {}).items():
            assert prefixes == [f"{keys.RAW_CONTAINER}/"]
            conditions = set(action) - {"daysAfterLastTierChangeGreaterThan"}
            assert len(conditions) == 1, "conditions exclude each other"
            if "daysAfterLastTierChangeGreaterThan" in action:
                assert (name, conditions) == ("tierToArchive", {"daysAfterModificationGreaterThan"})
        assert "version" not in actions or not account["properties"]["isHnsEnabled"]
        assert "tierToArchive" not in actions.get("baseBlob", {}) or "ZRS" not in account["sku"]["name"]


def test_every_container_forgets_old_versions() -> None:
    rules = case("example").resource("Microsoft.Storage/storageAccounts/managementPolicies")["properties"]["policy"][
        "rules"
    ]
    forgetting = [rule["definition"]["filters"]["prefixMatch"] for rule in rules if rule["name"] != "raw-tiers"]
    reached = {prefix.removesuffix("/") for prefixes in forgetting for prefix in prefixes}
    assert reached == names_in(case("example"), "blobServices/containers")


def test_raw_archives_go_to_the_archive_tier_where_that_is_asked_for() -> None:
    tiers = {}
    for name in ("example", "archive tier"):
        policy = case(name).resource("Microsoft.Storage/storageAccounts/managementPolicies")["properties"]["policy"]
        tiers[name] = policy["rules"][0]["definition"]["actions"]["baseBlob"]
    assert tiers["example"].keys() == {"tierToCool", "tierToCold"}
    assert tiers["archive tier"]["tierToArchive"]["daysAfterModificationGreaterThan"] == 180


# https://learn.microsoft.com/azure/storage/blobs/access-tiers-overview#archive-access-tier
@pytest.mark.parametrize("redundancy", ["Standard_ZRS", "Standard_RAGZRS"])
def test_the_archive_tier_is_refused_where_zone_redundancy_excludes_it(redundancy: str) -> None:
    message = refusal(with_sources("RADAR", storageRedundancy=redundancy, rawArchiveAfterDays=1))
    assert message.startswith(f"rawArchiveAfterDays must be 0 with storageRedundancy {redundancy}: ")
    assert "Choose Standard_LRS, Standard_GRS or Standard_RAGRS" in message


def test_the_account_of_the_archives_is_locked_where_that_is_asked_for() -> None:
    made = case("closed")
    lock = made.resource("Microsoft.Authorization/locks")
    assert lock["properties"]["level"] == "CanNotDelete"
    assert lock["id"].startswith(f"{data_account(made)['id']}/providers/")
    assert made.outputs["dataAccountLock"] == lock["name"]
    assert case("example").resources("Microsoft.Authorization/locks") == []
    assert case("example").outputs["dataAccountLock"] == ""


# Events.


def test_our_own_topic_has_a_system_assigned_identity_and_tells_of_failures() -> None:
    made = case("example")
    topic = made.resource("Microsoft.EventGrid/systemTopics")
    assert topic["identity"] == {"type": "SystemAssigned"}
    assert topic["properties"]["source"] == data_account(made)["id"]
    assert topic["location"] == data_account(made)["location"]
    assert (made.outputs["topicName"], made.outputs["topicGroup"]) == (topic["name"], GROUP)
    # The identity itself, known once the topic is made.
    assert made.outputs["topicPrincipalId"].startswith(f"[reference('{topic['id']}', ")
    assert made.outputs["topicPrincipalId"].endswith(".identity.principalId]")


def test_an_existing_topic_is_left_alone() -> None:
    made = case("existing topic")
    assert made.resources("Microsoft.EventGrid/systemTopics") == []
    outputs = {name: made.outputs[name] for name in ("topicName", "topicGroup", "topicPrincipalId")}
    assert outputs == {"topicName": "theirs", "topicGroup": "shared", "topicPrincipalId": ""}
    here = case("fixed address").outputs
    assert (here["topicName"], here["topicGroup"], here["topicPrincipalId"]) == ("ours", GROUP, "")


def test_the_event_subscription_asks_for_what_the_code_takes() -> None:
    subscription = subscribe(TOPIC).resource("Microsoft.EventGrid/systemTopics/eventSubscriptions")["properties"]
    (by_api,) = subscription["filter"]["advancedFilters"]
    assert (by_api["operatorType"], by_api["key"]) == ("StringIn", "data.api")
    assert set(by_api["values"]) == COMPLETE
    assert {name: value for name, value in subscription["filter"].items() if name != "advancedFilters"} == {
        "includedEventTypes": ["Microsoft.Storage.BlobCreated"],
        "subjectBeginsWith": f"/blobServices/default/containers/{keys.RAW_CONTAINER}/blobs/",
        "subjectEndsWith": ".zip",
        "isSubjectCaseSensitive": False,
    }
    assert subscription["eventDeliverySchema"] == "EventGridSchema"
    assert "event: func.EventGridEvent" in APP


# https://learn.microsoft.com/azure/event-grid/delivery-and-retry: 1 to 30 tries, 1 to 1440 minutes
def test_events_go_to_the_published_function_one_by_one_for_a_day() -> None:
    subscription = subscribe(TOPIC).resource("Microsoft.EventGrid/systemTopics/eventSubscriptions")["properties"]
    destination = subscription["destination"]
    app, _, function = destination["properties"]["resourceId"].rpartition("/functions/")
    assert app.endswith(f"/resourceGroups/{GROUP}/providers/Microsoft.Web/sites/app")
    assert f'@app.function_name("{function}")' in APP
    assert (destination["endpointType"], destination["properties"]["maxEventsPerBatch"]) == ("AzureFunction", 1)
    assert "deliveryWithResourceIdentity" not in subscription
    assert subscription["retryPolicy"] == {"maxDeliveryAttempts": 30, "eventTimeToLiveInMinutes": 1440}


# A storage firewall lets in the system-assigned identity alone, and no user-assigned one:
# https://learn.microsoft.com/azure/event-grid/handler-storage-queues
@pytest.mark.parametrize("group", [GROUP, "shared"])
def test_dead_letters_are_written_as_the_identity_of_the_topic_which_may_do_that_alone(group: str) -> None:
    made = subscribe(TOPIC, group)
    subscription = made.resource("Microsoft.EventGrid/systemTopics/eventSubscriptions")
    topics = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}/providers/Microsoft.EventGrid/systemTopics"
    assert subscription["id"] == f"{topics}/topic/eventSubscriptions/raw-archives"
    dead_letters = subscription["properties"]["deadLetterWithResourceIdentity"]
    assert dead_letters["identity"] == {"type": "SystemAssigned"}
    where = dead_letters["deadLetterDestination"]["properties"]
    assert where["resourceId"].endswith(f"/resourceGroups/{GROUP}/providers/Microsoft.Storage/storageAccounts/data")
    assert where["blobContainerName"] == keys.DEAD_LETTER_CONTAINER
    assert grants(made) == {(TOPIC, "Storage Blob Data Contributor", keys.DEAD_LETTER_CONTAINER)}


def test_without_an_identity_of_the_topic_there_are_no_dead_letters() -> None:
    made = subscribe("")
    subscription = made.resource("Microsoft.EventGrid/systemTopics/eventSubscriptions")
    assert subscription["properties"]["deadLetterWithResourceIdentity"] is None
    assert made.resources("Microsoft.Authorization/roleAssignments") == []


# Roles.


def test_the_identity_of_the_app_may_do_no_more_than_it_must(made: Deployment) -> None:
    data, host, vault = (made.outputs[name] for name in ("dataAccountName", "hostAccountName", "keyVaultName"))
    app = made.resource("Microsoft.ManagedIdentity/userAssignedIdentities")["name"]
    assert {grant for grant in grants(made) if grant[0] not in (OPERATOR, READER)} == {
        (app, "Storage Blob Data Owner", host),
        (app, "Storage Table Data Contributor", host),
        *((app, "Storage Blob Data Contributor", name) for name in names_in(made, "blobServices/containers")),
        (app, "Storage Queue Data Contributor", data),
        (app, "Storage Table Data Contributor", data),
        (app, "Monitoring Metrics Publisher", made.outputs["insightsName"]),
        (app, "Key Vault Secrets User", vault),
    }


def test_people_may_do_what_their_part_is() -> None:
    made = case("closed")
    data, vault = made.outputs["dataAccountName"], made.outputs["keyVaultName"]
    assert {grant for grant in grants(made) if grant[0] in (OPERATOR, READER)} == {
        *((OPERATOR, role, data) for role in DATA_ROLES),
        (OPERATOR, "Key Vault Secrets Officer", vault),
        (READER, "Storage Blob Data Reader", data),
        (READER, "Storage Table Data Reader", data),
    }


def test_a_role_that_is_given_again_is_the_same_assignment_and_none_is_made_twice(made: Deployment) -> None:
    for assignment in made.resources("Microsoft.Authorization/roleAssignments"):
        properties = assignment["properties"]
        role = properties["roleDefinitionId"].rpartition("/")[2]
        principal = properties["principalId"].strip("[]")
        known = "[" not in properties["principalId"]
        assert known or re.fullmatch(rf"\[guid\('[^']+', {re.escape(principal)}, '{role}'\)\]", assignment["name"])
    names = [assignment["name"] for assignment in made.resources("Microsoft.Authorization/roleAssignments")]
    assert len(set(names)) == len(names)


def test_nobody_gets_in_by_password_or_without_tls(made: Deployment) -> None:
    site = made.resource("Microsoft.Web/sites")["properties"]
    assert site["httpsOnly"]
    assert (site["siteConfig"]["minTlsVersion"], site["siteConfig"]["scmMinTlsVersion"]) == ("1.2", "1.2")
    doors = made.resources("Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    assert {door["name"].rpartition("/")[2]: door["properties"]["allow"] for door in doors} == {
        "scm": False,
        "ftp": False,
    }
    vault = made.resource("Microsoft.KeyVault/vaults")["properties"]
    assert (vault["enableRbacAuthorization"], vault["enablePurgeProtection"]) == (True, True)
    assert made.resource("Microsoft.Insights/components")["properties"]["DisableLocalAuth"]
    assert made.resource("Microsoft.OperationalInsights/workspaces")["properties"]["features"]["disableLocalAuth"]


# Networks.


def test_storage_and_key_vault_are_open_or_closed_as_asked_and_never_to_event_grid(made: Deployment) -> None:
    closed = made == case("closed")
    for resource in [*made.resources("Microsoft.Storage/storageAccounts"), made.resource("Microsoft.KeyVault/vaults")]:
        assert resource["properties"]["publicNetworkAccess"] == "Enabled"
        rules = resource["properties"]["networkAcls"]
        assert (rules["bypass"], rules["defaultAction"]) == ("AzureServices", "Deny" if closed else "Allow")
        assert [rule["value"] for rule in rules["ipRules"]] == (ADDRESSES if closed else [])


def test_a_closed_app_still_hears_event_grid_and_those_who_deploy() -> None:
    site = case("closed").resource("Microsoft.Web/sites")["properties"]
    assert site["publicNetworkAccess"] == "Enabled"
    config = site["siteConfig"]
    defaults = (config["ipSecurityRestrictionsDefaultAction"], config["scmIpSecurityRestrictionsDefaultAction"])
    assert defaults == ("Deny", "Deny")
    event_grid, *people = config["ipSecurityRestrictions"]
    assert (event_grid["action"], event_grid["tag"], event_grid["ipAddress"]) == (
        "Allow",
        "ServiceTag",
        "AzureEventGrid",
    )
    assert [rule["ipAddress"] for rule in people] == [f"{address}/32" for address in ADDRESSES]
    assert config["scmIpSecurityRestrictions"] == people


@pytest.mark.parametrize("name", ["closed", "fixed address"])
def test_the_app_sends_from_one_address_by_a_subnet_that_flex_consumption_takes(name: str) -> None:
    made = case(name)
    network = made.resource("Microsoft.Network/virtualNetworks")
    functions, endpoints = network["properties"]["subnets"]
    assert not [subnet["name"] for subnet in (functions, endpoints) if "_" in subnet["name"]]
    assert functions["properties"]["delegations"][0]["properties"]["serviceName"] == "Microsoft.App/environments"
    assert functions["properties"]["natGateway"]["id"] == made.resource("Microsoft.Network/natGateways")["id"]
    subnet = made.resource("Microsoft.Web/sites")["properties"]["virtualNetworkSubnetId"]
    assert subnet == f"{network['id']}/subnets/{functions['name']}"
    assert made.resource("Microsoft.Network/publicIPAddresses")["id"] in made.outputs["outboundAddress"]


def test_a_closed_system_has_an_endpoint_for_each_service_that_the_app_uses() -> None:
    made = case("closed")
    data, host, vault = (made.outputs[name] for name in ("dataAccountName", "hostAccountName", "keyVaultName"))
    reached = {
        (connection["properties"]["privateLinkServiceId"].rpartition("/")[2], *connection["properties"]["groupIds"])
        for endpoint in made.resources("Microsoft.Network/privateEndpoints")
        for connection in endpoint["properties"]["privateLinkServiceConnections"]
    }
    assert reached == {
        *((data, service) for service in ("blob", "queue", "table")),
        *((host, service) for service in ("blob", "table")),
        (vault, "vault"),
    }
    assert case("example").resources("Microsoft.Network/privateEndpoints") == []


# Monitoring.


def duration(text: str) -> timedelta:
    """Read an ISO 8601 duration of days, hours and minutes."""
    match = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?)?", text)
    assert match
    days, hours, minutes = (int(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes)


# https://learn.microsoft.com/azure/azure-monitor/alerts/alerts-create-log-alert-rule
WINDOWS = {
    *(timedelta(minutes=minutes) for minutes in (1, 5, 10, 15, 30, 45)),
    *(timedelta(hours=hours) for hours in (1, 2, 3, 4, 5, 6)),
    *(timedelta(days=days) for days in (1, 2)),
}


def test_every_alert_rule_looks_at_all_of_the_time_at_every_frequency(made: Deployment) -> None:
    rules = [rule["properties"] for rule in made.resources("Microsoft.Insights/scheduledQueryRules")]
    assert len(rules) == (INFRA / "modules" / "alerts.bicep").read_text().count("    title: ")
    for rule in rules:
        frequency, window = duration(rule["evaluationFrequency"]), duration(rule["windowSize"])
        assert window >= frequency, rule["displayName"]
        assert window in WINDOWS
        # Automatic resolution and muting exclude each other.
        assert rule["autoMitigate"]
        assert "muteActionsDuration" not in rule


def test_every_frequency_that_is_allowed_was_looked_at() -> None:
    (allowed,) = re.findall(
        r"@allowed\((.+)\)\nparam alertFrequency ", (INFRA / "main.bicep").read_text().replace("'", '"')
    )
    seen = {
        rule["properties"]["evaluationFrequency"]
        for name in CASES
        for rule in case(name).resources("Microsoft.Insights/scheduledQueryRules")
    }
    assert seen == set(json.loads(allowed))


def test_each_source_is_expected_by_its_name_and_interval() -> None:
    rule = case("eight sources").resource("Microsoft.Insights/scheduledQueryRules", "-no-archive")
    (query,) = (criterion["query"] for criterion in rule["properties"]["criteria"]["allOf"])
    expected = dict(re.findall(r"'([a-z0-9-]+)', (\w+)", query.split("datatable")[1].split("]")[0]))
    default = default_text(PER_SOURCE["INTERVAL"])
    others = dict.fromkeys(("radar", "north", "e", "w", "down", "a-b-c"), default)
    assert expected == others | {"south-2": "1h", "up": "1d"}


def test_the_workbook_is_whole_and_asks_for_the_sources_that_there_are() -> None:
    page = json.loads(case("eight sources").resource("Microsoft.Insights/workbooks")["properties"]["serializedData"])
    queries = {item["name"]: item["content"]["query"] for item in page["items"] if "query" in item["content"]}
    assert not [query for query in queries.values() if query.endswith(".kql")]
    assert "'south-2', 1h" in queries["no-archive"]
    assert "let source = '{Source}';" in queries["sources"]
    parameters = page["items"][0]["content"]["parameters"]
    assert [text["query"].endswith(".kql") for text in parameters if "query" in text] == [False]


# https://learn.microsoft.com/azure/azure-monitor/reference/supported-logs/logs-index
def test_failed_deliveries_and_what_is_done_with_secrets_are_logged(made: Deployment) -> None:
    workspace = made.resource("Microsoft.OperationalInsights/workspaces")["id"]
    categories = {}
    for setting in made.resources("Microsoft.Insights/diagnosticSettings"):
        properties = setting["properties"]
        # To separate tables, which the queries read.
        assert (properties["workspaceId"], properties["logAnalyticsDestinationType"]) == (workspace, "Dedicated")
        about = setting["id"].partition("/providers/Microsoft.Insights/")[0]
        categories[about] = [log["category"] for log in properties["logs"] if log["enabled"]]
    vault = {made.resource("Microsoft.KeyVault/vaults")["id"]: ["AuditEvent"]}
    topics = {topic["id"]: ["DeliveryFailures"] for topic in made.resources("Microsoft.EventGrid/systemTopics")}
    assert categories == vault | topics


def test_deliveries_are_looked_for_under_the_name_of_the_subscription() -> None:
    subscription = subscribe(TOPIC).resource("Microsoft.EventGrid/systemTopics/eventSubscriptions")
    assert f"'{subscription['name'].rpartition('/')[2]}'" in (INFRA / "queries" / "deliveries.kql").read_text()


# https://learn.microsoft.com/azure/templates/microsoft.consumption/budgets#budgettimeperiod
def test_a_budget_begins_with_the_month_that_is_given_and_tells_the_operator() -> None:
    budget = case("closed").resource("Microsoft.Consumption/budgets")["properties"]
    assert (budget["amount"], budget["timeGrain"]) == (100, "Monthly")
    assert budget["timePeriod"] == {"startDate": "2026-12-01"}
    contacts = [notice["contactEmails"] for notice in budget["notifications"].values()]
    assert contacts == [["operator@mail.example"]] * 2
    assert case("example").resources("Microsoft.Consumption/budgets") == []


def test_a_budget_that_azure_would_refuse_is_refused_with_all_that_it_needs() -> None:
    needs = ["monthlyBudget needs budgetStart: the first day of the current month", "monthlyBudget needs alertEmail"]
    for start in ("", "2026-12-02"):
        message = refusal(with_sources("RADAR", monthlyBudget=1, budgetStart=start))
        assert [need for need in needs if need not in message] == []


# Names, as https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules has them.


def test_the_longest_and_the_shortest_names_are_taken_by_every_service(made: Deployment) -> None:
    limits = {
        "Microsoft.Storage/storageAccounts": r"[a-z0-9]{3,24}",
        "Microsoft.KeyVault/vaults": r"[a-zA-Z](?!.*--)[a-zA-Z0-9-]{1,22}[a-zA-Z0-9]",
        "Microsoft.Web/sites": r"[a-zA-Z0-9][a-zA-Z0-9-]{0,58}[a-zA-Z0-9]",
        "Microsoft.EventGrid/systemTopics": r"[a-zA-Z0-9-]{3,50}",
        "Microsoft.OperationalInsights/workspaces": r"[a-zA-Z0-9][a-zA-Z0-9-]{2,61}[a-zA-Z0-9]",
    }
    for kind, pattern in limits.items():
        for resource in made.resources(kind):
            assert re.fullmatch(pattern, resource["name"]), resource["name"]
    assert 1 <= len(made.resource("Microsoft.Insights/actionGroups")["properties"]["groupShortName"]) <= 12


def test_a_resource_and_its_children_have_one_api_version() -> None:
    versions: dict[str, set[str]] = {}
    for name in CASES:
        for resource in case(name).predicted:
            family = "/".join(resource["type"].split("/")[:2])
            versions.setdefault(family, set()).add(resource["apiVersion"])
    assert {family: used for family, used in versions.items() if len(used) > 1} == {}


def test_no_parameter_file_is_left_behind() -> None:
    assert list(Path(INFRA).rglob("*.snapshot.json")) == []
