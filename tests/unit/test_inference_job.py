"""The statement that starts an inference job, and what is read of jobs: names, results, grants."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spcs_llm.control.families import price_list
from spcs_llm.control.identifiers import QualifiedName
from spcs_llm.control.services import Pool, read_pools
from spcs_llm.errors import SettingsError
from spcs_llm.in_snowflake.engine_choice import missing_privileges
from spcs_llm.in_snowflake.form import JobSettings, read_settings
from spcs_llm.in_snowflake.inference_job import BYTES_AT_ONCE, FILES_AT_ONCE, JobName, ResultFile, Results
from spcs_llm.in_snowflake.job_statement import JobStart, written
from spcs_llm.in_snowflake.registry_model import RegistryModel, Unavailable, gpus_of_node
from spcs_llm.in_snowflake.signature import Form, Function
from spcs_llm.in_snowflake.work_tables import work_tables
from tests.unit.scripted_session import ScriptedSession, rows

yaml = pytest.importorskip("yaml", reason="a development package")

CONFIG = {
    "engine": "JOB", "model": "DB.S.M", "computePool": "pool", "keyColumns": ["ID"], "promptTemplate": "{{TEXT}}",
}  # fmt: skip
TABLES = work_tables(QualifiedName("DB", "S", "OUT"), chat=True)
HOSTILE = st.text(st.one_of(st.characters(), st.sampled_from("'\"$`{}\\;?:-\0\n"))) | st.sampled_from(
    ["$$", "${projectKey}", "{{x}}", "''", "\\'", "\0", "x'); DROP TABLE t; --", "?", "\U0001f600"]
)


def start(form: Form = Form.PARAMS, **changes: Any) -> JobStart:
    names = ("MESSAGES",) if form is Form.PARAMS else ("TEXT",)
    model = RegistryModel(QualifiedName("DB", "S", "M"), "V1", Function("__CALL__", None, names), form, True)
    values: dict[str, Any] = {"model": model, "gpus": 1, "replicas": 2, **changes}
    return JobStart(QualifiedName("DB", "S", "J"), "POOL", **values)


def settings(**changes: Any) -> JobSettings:
    return read_settings({**CONFIG, **changes})


def test_the_clauses_are_in_snowflakes_order() -> None:
    text = start().sql(settings(), TABLES, "ab12")
    clauses = [
        "EXECUTE INFERENCE JOB SERVICE IN COMPUTE POOL POOL", " WITH SPECIFICATION $$ {", "} $$ FROM (SELECT ",
        ") MODEL = DB.S.M", " VERSION = V1", " NAME = DB.S.J", " ASYNC = TRUE", " REPLICAS = 2",
    ]  # fmt: skip
    places = [text.index(clause) for clause in clauses]
    assert places == sorted(places)
    assert places[0] == 0


def test_names_are_quoted_where_they_need_it_and_a_function_is_named_where_there_are_more() -> None:
    model = RegistryModel(
        QualifiedName("d b", "S", "M"), "v 1", Function("__CALL__", None), Form.PARAMS, False
    )
    text = start(model=model).sql(settings(), TABLES, "ab12")
    assert ' MODEL = "d b".S.M VERSION = "v 1" FUNCTION = \'__call__\' NAME = DB.S.J ' in text


def test_a_job_without_gpus_asks_for_none() -> None:
    assert "resources" not in start(gpus=0).specification(settings(), TABLES)
    assert yaml.safe_load(start(gpus=4).specification(settings(), TABLES))["resources"] == {
        "gpu_requests": "4"
    }


@given(st.lists(HOSTILE.filter(bool), max_size=3), HOSTILE)
def test_no_text_of_the_user_is_in_the_statement_as_it_is_and_all_arrive(stops: list[str], said: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "description": said}}}
    chosen = settings(
        stopSequences=stops, jsonSchema=schema, promptTemplate=said.replace("{{", "") + " {{TEXT}}"
    )
    text = start().sql(chosen, TABLES, "ab12")
    assert text.count("$") == 4
    assert "${" not in text
    _, specification, rest = text.split("$$")
    assert re.fullmatch(r"[A-Za-z0-9_ ./@,:\"{}\[\]\\]*", specification)
    assert re.fullmatch(r"[A-Za-z0-9_ ./@,:'()|=><]*", rest)
    params = yaml.safe_load(specification)["input"]["params"]
    assert params.get("stop", []) == [stop.encode("utf-8", "replace").decode() for stop in stops]
    described = params["response_format"]["json_schema"]["schema"]["properties"]["a"]["description"]
    assert described == said.encode("utf-8", "replace").decode()


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12,
))  # fmt: skip
def test_any_value_is_the_same_as_yaml(value: Any) -> None:
    expected = json.loads(json.dumps(value).encode("utf-8", "replace"))
    assert _known(yaml.safe_load(written(value))) == _known(expected)


def _known(value: Any) -> Any:
    """PyYAML reads 1e+16 as a text, which YAML 1.2 does not."""
    if isinstance(value, dict):
        return {key: _known(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_known(one) for one in value]
    return (
        float(value) if isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?e[+-]?\d+", value) else value
    )


def test_a_name_is_read_as_it_is_written_and_others_are_none() -> None:
    name = JobName("SPCS_LLM_0123456789AB", "00FF00FF", False, 12)
    assert JobName.read(str(name), name.mark) == name
    assert re.fullmatch("[A-Z_][A-Z0-9_]*", str(name))  # quoted names are not taken for jobs
    for other in ("SPCS_LLM_0123456789AB_RESULTS", "MODEL_BUILD_1", f"{name}X", ""):
        assert JobName.read(other, name.mark) is None


@given(st.lists(st.integers(0, 2 * BYTES_AT_ONCE), max_size=600))
def test_results_are_read_in_groups_without_losing_a_file(sizes: list[int]) -> None:
    files = tuple(ResultFile(f"f{i}.parquet", size) for i, size in enumerate(sizes))
    groups = Results(files, True).groups()
    assert [file for group in groups for file in group] == list(files)
    for group in groups:
        assert len(group) <= FILES_AT_ONCE
        assert len(group) == 1 or sum(file.size for file in group) <= BYTES_AT_ONCE


def grant(privilege: str, grantee: str) -> dict[str, str]:
    return {"privilege": privilege, "grantee_name": grantee}


@pytest.mark.parametrize(
    ("grants", "missing"),
    [
        ([], ["CREATE SERVICE", "CREATE STAGE"]),
        ([grant("OWNERSHIP", "OURS")], []),
        ([grant("OWNERSHIP", "THEIRS")], ["CREATE SERVICE", "CREATE STAGE"]),
        ([grant("CREATE SERVICE", "OURS"), grant("CREATE STAGE", "OURS_TOO")], []),
        ([grant("CREATE SERVICE", "OURS"), grant("CREATE STAGE", "THEIRS")], ["CREATE STAGE"]),
    ],
)
def test_privileges_are_those_of_all_roles_of_the_session(
    grants: list[dict[str, str]], missing: list[str]
) -> None:
    session = ScriptedSession(
        {
            "SHOW GRANTS ON SCHEMA DB.S": grants,
            **{
                f"SELECT IS_ROLE_IN_SESSION('{role}')": [
                    {"ours": "true" if role.startswith("OURS") else "false"}
                ]
                for role in ("OURS", "OURS_TOO", "THEIRS")
            },
        }
    )
    assert missing_privileges(session, "DB", "S") == missing


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "M"}, "'Model' must have three parts"),
        ({"model": None, "computePool": None}, "'Model' is empty"),
        ({"computePool": "a b"}, "'Compute pool' is not a name of Snowflake"),
        ({"engine": "AUTO", "computePool": None}, "'Compute pool' is empty"),
        ({"engine": "SERVICE"}, "'Service' is empty"),
    ],
)
def test_each_engine_needs_its_own_fields(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        settings(**changes)


LISTED = rows(
    "name gpu gpu_count", "CPU_X64_S | NULL | 0", "GPU_NV_XL | NVIDIA H100 | 8", "GEN_X64_G3_2 | NULL | 0"
)


@pytest.mark.parametrize(
    ("family", "listed", "gpus"),
    [
        ("GPU_NV_M", {}, 4),
        ("CPU_X64_S", {}, 0),
        ("GPU_NV_XL", {"SHOW COMPUTE POOL INSTANCE FAMILIES": LISTED}, 8),
        ("GEN_X64_G3_2", {"SHOW COMPUTE POOL INSTANCE FAMILIES": LISTED}, 0),
        ("GEN_X64_G3_2", {}, 0),
    ],
)
def test_the_gpus_of_a_family_that_is_newer_than_the_price_list_are_asked_for(
    family: str, listed: dict[str, Any], gpus: int
) -> None:
    session = ScriptedSession(listed)
    assert gpus_of_node(session, pool_of(family), price_list()) == gpus
    assert len(session.asked) == (family not in price_list().families)


@pytest.mark.parametrize("listed", [{}, {"SHOW COMPUTE POOL INSTANCE FAMILIES": LISTED}])
def test_a_job_does_not_run_on_the_cpus_of_nodes_with_gpus(listed: dict[str, Any]) -> None:
    with pytest.raises(Unavailable, match="how many GPUs a node of instance family GPU_OF_TOMORROW has"):
        gpus_of_node(ScriptedSession(listed), pool_of("GPU_OF_TOMORROW"), price_list())


def pool_of(family: str) -> Pool:
    return read_pools(rows("name instance_family", f"P | {family}"))[0]


def test_engine_job_has_no_service_and_engine_service_no_model() -> None:
    both = {**CONFIG, "service": "DB.S.SVC"}
    assert read_settings({**both, "engine": "JOB"}).service is None
    assert read_settings({**both, "engine": "SERVICE"}).model is None
    auto = read_settings({**both, "engine": "AUTO"})
    assert (auto.service, auto.model, auto.pool) == (
        QualifiedName("DB", "S", "SVC"), QualifiedName("DB", "S", "M"), "POOL",
    )  # fmt: skip
