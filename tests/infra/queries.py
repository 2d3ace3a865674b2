"""The query files, the schemas of their tables, and the values that are inserted into them where they run."""

import re
from functools import cache
from pathlib import Path

from tests.tools.kusto import Judged, judge

INFRA = Path(__file__).parents[2] / "infra"
QUERIES = {path.name: path.read_text() for path in sorted((INFRA / "queries").glob("*.kql"))}
ALERTS = (INFRA / "modules" / "alerts.bicep").read_text()
WORKBOOK = (INFRA / "modules" / "workbook.bicep").read_text()

# Columns as in https://learn.microsoft.com/azure/azure-monitor/reference/tables/appmetrics and its neighbours.
_ALL = """AppRoleInstance: string, AppRoleName: string, AppVersion: string, _BilledSize: real, ClientBrowser: string,
    ClientCity: string, ClientCountryOrRegion: string, ClientIP: string, ClientModel: string, ClientOS: string,
    ClientStateOrProvince: string, ClientType: string, IKey: string, _IsBillable: string, ItemCount: int,
    OperationId: string, OperationName: string, ParentId: string, Properties: dynamic, ResourceGUID: string,
    _ResourceId: string, SDKVersion: string, SessionId: string, SourceSystem: string, _SubscriptionId: string,
    SyntheticSource: string, TenantId: string, TimeGenerated: datetime, Type: string, UserAccountId: string,
    UserAuthenticatedId: string, UserId: string"""
_CALL = """DurationMs: real, Id: string, Measurements: dynamic, Name: string, ReferencedItemId: string,
    ReferencedType: string, ResultCode: string, Success: bool"""
_OWN = {
    "AppMetrics": "Max: real, Min: real, Name: string, Sum: real",
    "AppTraces": """Measurements: dynamic, Message: string, ReferencedItemId: string, ReferencedType: string,
        SeverityLevel: int""",
    "AppExceptions": """Assembly: string, Details: dynamic, ExceptionType: string, HandledAt: string,
        InnermostAssembly: string, InnermostMessage: string, InnermostMethod: string, InnermostType: string,
        Measurements: dynamic, Message: string, Method: string, OuterAssembly: string, OuterMessage: string,
        OuterMethod: string, OuterType: string, ProblemId: string, SeverityLevel: int""",
    "AppDependencies": f"{_CALL}, Data: string, DependencyType: string, Target: string",
    "AppRequests": f"{_CALL}, Source: string, Url: string",
}
_EVENT_GRID = """_BilledSize: real, Category: string, EventSubscriptionName: string, _IsBillable: string,
    Message: string, OperationName: string, _ResourceId: string, SourceSystem: string, SubResourceName: string,
    _SubscriptionId: string, TenantId: string, TimeGenerated: datetime, Type: string"""
TABLES = {name: f"({_ALL}, {own})" for name, own in _OWN.items()} | {"AegDeliveryFailureLogs": f"({_EVENT_GRID})"}

EXPECTED = "'radar', 10m, 'north', 1h"
"""The parameter `expectedSources` as main.bicep makes it of two sources."""


def put_in() -> dict[str, str]:
    """The workbook's replacements in the files, by the replaced text; parameters of the workbook in braces."""
    replacements = re.findall(r"replace\(text, '((?:\\.|[^'])+)', (?:'((?:\\.|[^'])+)'|expectedSources)\)", WORKBOOK)
    return {old.replace("\\'", "'"): new.replace("\\'", "'") or EXPECTED for old, new in replacements}


def in_workbook(text: str) -> str:
    """Return a query as the workbook runs it after a choice."""
    parameters = {"{Source}": "radar", "{TimeRange:grain}": "30m", "{Version}": "0123abcd"}
    for old, new in (put_in() | parameters).items():
        text = text.replace(old, new)
    return text


def in_alert(text: str) -> str:
    """Return a query as an alert runs it."""
    return text.replace("'example', 10m", EXPECTED)


_RIGHT = QUERIES["heartbeat.kql"]
WRONG = {
    "a column": _RIGHT.replace("TimeGenerated", "Timestamp"),
    "a table": _RIGHT.replace("AppMetrics", "customMetrics"),
    "a function": _RIGHT.replace("max(", "newest("),
    "syntax": _RIGHT.replace("| where", "| were"),
}
"""Queries that must be reported as wrong."""


@cache
def judged() -> dict[str, Judged]:
    """Return the language service's findings for each file, for `alert FILE`, `workbook FILE`, and for the wrong ones.

    In one call, because loading the service takes seconds.
    """
    asked = {f"alert {name}": in_alert(text) for name, text in QUERIES.items()}
    asked |= {f"workbook {name}": in_workbook(text) for name, text in QUERIES.items()}
    return judge(QUERIES | asked | WRONG, TABLES)
