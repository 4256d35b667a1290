"""The cluster files: what the launcher would say of them, and what else comes out only when machines are started."""

from __future__ import annotations

import copy
import functools
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[1]
CLUSTERS = ROOT / "clusters"
LAUNCHED = ("gpu", "gcp", "local")


def read(name: str) -> dict[str, Any]:
    described: dict[str, Any] = yaml.safe_load((CLUSTERS / f"{name}.yaml").read_text())
    return described


def only(**known: Any) -> dict[str, Any]:
    """An object with these keys and no others; those whose name ends in _ must be there."""
    needed = [name.removesuffix("_") for name in known if name.endswith("_")]
    properties = {name.removesuffix("_"): kind for name, kind in known.items()}
    return {"type": "object", "additionalProperties": False, "required": needed, "properties": properties}


def several(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1}


TEXT, NUMBER, TRUTH = {"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
PROVIDERS = {
    "aws": only(type_=TEXT, region_=TEXT, cache_stopped_nodes_=TRUTH),
    "gcp": only(type_=TEXT, region_=TEXT, availability_zone_=TEXT, project_id_=TEXT, cache_stopped_nodes_=TRUTH),
    "local": only(type_=TEXT, head_ip_=TEXT, worker_ips_=several(TEXT)),
}
NODES = {
    "aws": only(
        InstanceType_=TEXT,
        ImageId_=TEXT,
        IamInstanceProfile_=only(Name_=TEXT),
        InstanceMarketOptions=only(MarketType_={"enum": ["spot"]}),
        BlockDeviceMappings_=several(
            only(DeviceName_=TEXT, Ebs_=only(VolumeSize_=NUMBER, VolumeType_={"enum": ["gp3"]}))
        ),
    ),
    "gcp": only(
        machineType_=TEXT,
        disks_=several(
            only(
                boot_={"const": True},
                autoDelete_={"const": True},
                type_={"enum": ["PERSISTENT"]},
                initializeParams_=only(diskSizeGb_=NUMBER, sourceImage_={"type": "string", "pattern": "^projects/"}),
            )
        ),
        scheduling=only(
            provisioningModel_={"enum": ["SPOT"]},
            instanceTerminationAction_={"enum": ["DELETE"]},
            onHostMaintenance_={"enum": ["TERMINATE"]},
        ),
        serviceAccounts=several(only(email_=TEXT, scopes_=several(TEXT))),
    ),
}


def check(described: dict[str, Any]) -> None:
    """Raise if the launcher, or the cloud behind it, would not take this."""
    described = copy.deepcopy(described)
    validate_config(prepare_config(described))
    kind = described["provider"]["type"]
    jsonschema.validate(described["provider"], PROVIDERS[kind])
    for node in described.get("available_node_types", {}).values():
        jsonschema.validate(node["node_config"], NODES[kind])
        if kind == "aws":
            ask_botocore(node["node_config"])


@functools.cache
def run_instances():
    import botocore.session

    service = botocore.session.get_session().get_service_model("ec2")
    return service.operation_model("RunInstances").input_shape


def ask_botocore(node: dict[str, Any]) -> None:
    from botocore.validate import ParamValidator

    found = ParamValidator().validate({**node, "MinCount": 1, "MaxCount": 1}, run_instances())
    assert not found.has_errors(), found.generate_report()


@pytest.mark.parametrize("name", LAUNCHED)
def test_launcher_takes_it(name):
    check(read(name))


@pytest.mark.parametrize(
    ("name", "place", "wrong"),
    [
        ("gpu", "available_node_types.gpu.node_config", "InstancType"),
        ("gpu", "available_node_types.gpu.node_config.IamInstanceProfile", "name"),
        ("gpu", "available_node_types.gpu.node_config.InstanceMarketOptions", "marketType"),
        ("gpu", "available_node_types.head", "resource"),
        ("gpu", "provider", "regoin"),
        ("gcp", "available_node_types.gpu.node_config", "machinetype"),
        ("gcp", "available_node_types.gpu.node_config.scheduling", "preemptable"),
        ("gcp", "provider", "zone"),
        ("local", "provider", "worker_ip"),
        ("local", "", "setup_command"),
    ],
)
def test_typing_error_is_found(name, place, wrong):
    described = read(name)
    target = functools.reduce(lambda value, key: value[key], place.split(".") if place else [], described)
    target[wrong] = "x"
    with pytest.raises((jsonschema.ValidationError, AssertionError)):
        check(described)


@pytest.mark.parametrize("name", LAUNCHED)
def test_all_that_is_sent_is_here(name):
    """The packages are installed from what is sent; a lock file says which versions, the same on all nodes."""
    sent = read(name)["file_mounts"]
    assert sent.pop("~/.ray/auth_token") == "~/.ray/auth_token"
    assert sent.pop("~/nasprune/uv.lock") == "uv.lock"  # of whoever launches
    for target, source in sent.items():
        assert target == f"~/nasprune/{source}"
        assert (ROOT / source).exists()
    assert {"nasprune", "sweep", "pyproject.toml", "README.md", "LICENSE"} == set(sent.values())


@pytest.mark.parametrize("name", LAUNCHED)
def test_same_steps_everywhere(name):
    """Only what a cloud has of its own may differ: a mistake mended in one file is mended in all."""
    described, reference = read(name), read("local")
    for key in ("file_mounts", "rsync_exclude", "head_start_ray_commands", "worker_start_ray_commands"):
        assert described[key] == reference[key]
    own = r" --extra \w+| AWS_DEFAULT_REGION=\S+|NASPRUNE_STORAGE=\S+"
    strip = [[re.sub(own, "", command) for command in file["setup_commands"]] for file in (described, reference)]
    assert strip[0] == strip[1]


def installing(name: str) -> str:
    (command,) = [command for command in read(name)["setup_commands"] if "uv sync" in command]
    return command


@pytest.mark.parametrize("name", LAUNCHED)
def test_every_machine_gets_the_same_python(name):
    """Ray compares Python to the last number, and keeps a machine with another one out; a system's may be any."""
    given = re.search(r" --managed-python --python (3\.\d+\.\d+)$", installing(name))
    assert given is not None
    assert f"the same Python from uv, {given[1]}," in (CLUSTERS / "README.md").read_text()


def test_uv_knows_that_python():
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not on the PATH to be asked")
    version = installing("local").split()[-1]
    known = subprocess.run(
        [uv, "python", "list", version, "--only-downloads", "--no-config"],
        env=os.environ | {"UV_PYTHON_DOWNLOADS": "automatic"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert f"cpython-{version}-" in known.stdout, known.stderr


@pytest.mark.parametrize("name", LAUNCHED)
def test_a_node_that_lost_the_head_ends_soon(name):
    (line,) = [command for command in read(name)["setup_commands"] if "export" in command]
    assert "RAY_gcs_rpc_server_reconnect_timeout_s=5 " in line


def test_key_that_the_launcher_copies_to_the_head_is_for_the_cluster_alone():
    key = read("local")["auth"]["ssh_private_key"]
    assert key == "~/.ssh/nasprune"
    assert f"-f {key}\n" in (CLUSTERS / "README.md").read_text()


@pytest.mark.parametrize("name", LAUNCHED)
def test_nothing_answers_strangers(name):
    text = (CLUSTERS / f"{name}.yaml").read_text()
    assert "--dashboard-host=127.0.0.1" in text
    assert "RAY_AUTH_MODE=token" in text
    assert "NASPRUNE_TRACKING_URI=http://127.0.0.1:5000" in text
    assert "0.0.0.0" not in text


@pytest.mark.parametrize("name", ["gpu", "gcp"])
def test_clouds_begin_with_no_worker_and_keep_the_head_free(name):
    kinds = read(name)["available_node_types"]
    assert kinds["head"]["resources"]["CPU"] == 0
    assert kinds["head"]["max_workers"] == 0
    assert kinds["gpu"]["min_workers"] == 0
    assert kinds["gpu"]["resources"]["GPU"] == 1


@pytest.mark.parametrize("name", ["gpu", "gcp"])
def test_idle_workers_leave_no_disk_behind(name):
    """On Google Cloud a machine that may be kept is stopped, not deleted; on AWS a spot machine never is."""
    described = read(name)
    if described["provider"]["cache_stopped_nodes"]:
        assert described["provider"]["type"] == "aws"
        assert "InstanceMarketOptions" in described["available_node_types"]["gpu"]["node_config"]


CONTAINER = only(
    name_=TEXT,
    image_=TEXT,
    env_=several(only(name_=TEXT, value_=TEXT)),
    ports=several(only(name_=TEXT, containerPort_=NUMBER)),
    resources_=only(requests_={"type": "object"}, limits_={"type": "object"}),
    volumeMounts_=several(only(name_=TEXT, mountPath_={"type": "string", "pattern": "^/"})),
)
POD = only(
    spec_=only(
        securityContext_=only(fsGroup_={"const": 1000}),  # or volumes that are root's could not be written
        containers_=several(CONTAINER),
        volumes_=several(
            only(
                name_=TEXT,
                persistentVolumeClaim=only(claimName_=TEXT),
                emptyDir=only(medium_={"enum": ["Memory"]}, sizeLimit_=TEXT),
            )
        ),
    )
)
PARAMETERS = {"type": "object", "additionalProperties": TEXT, "propertyNames": {"enum": ["num-cpus"]}}
RAYJOB = only(
    apiVersion_={"const": "ray.io/v1"},
    kind_={"const": "RayJob"},
    metadata_=only(name_=TEXT),
    spec_=only(
        entrypoint_=TEXT,
        backoffLimit_={"const": 0},  # a retry makes a new cluster, for a wrong setting as well
        submitterConfig_=only(backoffLimit_=NUMBER),
        shutdownAfterJobFinishes_={"const": True},
        ttlSecondsAfterFinished_={"type": "integer", "maximum": 600},  # the GPU nodes stay as long
        rayClusterSpec_=only(
            rayVersion_={"const": "2.60.0"},
            authOptions_=only(mode_={"const": "token"}),
            headGroupSpec_=only(serviceType_={"const": "ClusterIP"}, rayStartParams_=PARAMETERS, template_=POD),
            workerGroupSpecs_=several(
                only(
                    groupName_=TEXT,
                    replicas_=NUMBER,
                    minReplicas_=NUMBER,
                    maxReplicas_=NUMBER,
                    rayStartParams_=PARAMETERS,
                    template_=POD,
                )
            ),
        ),
    ),
)


def test_rayjob():
    job = read("rayjob")
    jsonschema.validate(job, RAYJOB)
    cluster = job["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    assert workers["minReplicas"] == workers["replicas"] == workers["maxReplicas"]  # nobody would ask for more
    for group in (cluster["headGroupSpec"], workers):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert {"name": "NASPRUNE_STORAGE", "value": "/shared/nasprune"} in container["env"]
        assert "/shared" in [mount["mountPath"] for mount in container["volumeMounts"]]


def test_typing_error_in_rayjob_is_found():
    job = read("rayjob")
    job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["imagePullPolcy"] = "Always"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, RAYJOB)


def test_one_release_of_ray_everywhere():
    pinned = re.search(r'"ray\[default,tune\]==([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert pinned is not None
    assert read("rayjob")["spec"]["rayClusterSpec"]["rayVersion"] == pinned[1]
    assert f"FROM rayproject/ray:{pinned[1]}-py311" in (CLUSTERS / "Dockerfile").read_text()


def commands(heading: str) -> list[list[str]]:
    """The commands of the README below a heading, by block; a line that ends in a backslash goes on."""
    text = (CLUSTERS / "README.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^ *```\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [block.replace("\\\n", " ").strip().splitlines() for block in blocks]


def test_commands_are_as_many_as_the_readme_says():
    (edit, aws, _, google, *_) = commands("From nothing to a front")
    assert len(edit) == 1
    for said, block in ((5, aws), (7, google)):
        assert len(block) == said
        assert not any(re.search(r"&&|;|\|", command) for command in block)
    assert [command.split()[3] for command in aws if command.startswith("uv run ray")] == ["up", "submit"]


def test_readme_shows_no_token_and_edits_files_on_every_system():
    text = (CLUSTERS / "README.md").read_text()
    made = re.findall(r"get-auth-token --generate.*", text)
    assert made
    assert all(line.endswith("--generate > /dev/null") for line in made)
    assert not re.search(r"sed -i (?!\.)", text)  # BSD's takes what follows for a suffix


def test_readme_and_file_ask_for_the_same_kuberay():
    asked = {
        re.search(r"KubeRay ([\d.]+) or newer", (CLUSTERS / name).read_text())[1]
        for name in ("README.md", "rayjob.yaml")
    }
    assert asked == {"1.5.1"}  # the first with authOptions


def test_readme_enables_what_the_launcher_of_google_cloud_calls():
    launcher = Path(ray.__file__).parent / "autoscaler" / "_private" / "gcp" / "config.py"
    called = set(re.findall(r'discovery\.build\(\s*"(\w+)"', launcher.read_text())) - {"tpu"}
    (enabling,) = re.findall(r"gcloud services enable (.*)", (CLUSTERS / "README.md").read_text())
    assert set(enabling.split()) == {f"{name}.googleapis.com" for name in called}


def test_what_an_account_needs_once_names_what_the_cluster_uses():
    text = (CLUSTERS / "aws-once.yaml").read_text()
    for node in read("gpu")["available_node_types"].values():
        profile = node["node_config"]["IamInstanceProfile"]["Name"]
        assert f"InstanceProfileName: {profile}," in text
    assert not re.search(r"[&*]\w+\n", text)  # CloudFormation knows no anchors
