"""Initial weights from a file and from a hub on localhost."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from nasprune.errors import ArtifactError, SettingsError
from nasprune.networks import NetworkSettings, build
from nasprune.weights import _torchvision_names, load_initial_weights

SETTINGS = NetworkSettings(network="resnet18", classes=5, image_size=32)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The weights of another network of 1000 classes, as a file."""
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    torch.manual_seed(7)
    save_file(models.resnet18(num_classes=1000).state_dict(), path)
    return path


@pytest.fixture
def hub(published, monkeypatch, tmp_path):
    content = published.read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            if self.path != "/timm/resnet18.tv_in1k/resolve/main/model.safetensors":
                return self.send_error(404)
            self.send_response(200)
            self.send_header("ETag", '"weights-1"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            return None

        def do_GET(self):
            self.do_HEAD()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def check(network, published):
    from safetensors.torch import load_file

    weights, own = load_file(published), network.state_dict()
    assert torch.equal(own["layer3.1.conv2.weight"], weights["layer3.1.conv2.weight"])
    assert own["fc.weight"].shape == (5, 512)  # the head of another number of classes is not taken
    assert torch.equal(own["fc.weight"], build(SETTINGS).state_dict()["fc.weight"])


def test_weights_from_a_file(published):
    network = build(SETTINGS)
    load_initial_weights(network, "resnet18", str(published))
    check(network, published)


def test_weights_for_colours_serve_other_bands(published):
    """Of a grey image the first layer sees as much through thirteen bands as through three."""
    colours, bands = (build(NetworkSettings(network="resnet18", classes=5, image_size=32, bands=b)) for b in (3, 13))
    for network in (colours, bands):
        load_initial_weights(network, "resnet18", str(published))
    grey = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(bands.conv1(grey.expand(2, 13, 32, 32)), colours.conv1(grey.expand(2, 3, 32, 32)))
    assert torch.equal(bands.layer3[1].conv2.weight, colours.layer3[1].conv2.weight)


def test_imagenet_weights_from_the_hub(published, hub):
    network = build(SETTINGS)
    load_initial_weights(network, "resnet18", "imagenet", endpoint=hub)
    check(network, published)


def test_unreachable_hub_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("time.sleep", lambda _: None)  # the hub's client waits 23 s in all between its tries
    with pytest.raises(ArtifactError, match="could not be downloaded") as caught:
        load_initial_weights(build(SETTINGS), "resnet18", "imagenet", endpoint="http://127.0.0.1:9")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [httpx.ReadError(""), TimeoutError()], ids=["transfer", "silent"])
def test_a_download_that_is_cut_off_is_one_line(monkeypatch, error):
    def cut_off(*_args, **_more):
        raise error

    monkeypatch.setattr("nasprune.weights.hf_hub_download", cut_off)
    with pytest.raises(ArtifactError, match=f"could not be downloaded from .*: {type(error).__name__}; check"):
        load_initial_weights(build(SETTINGS), "resnet18", "imagenet")


def test_weights_of_another_network_are_refused(published):
    other = build(NetworkSettings(network="resnet34", classes=5, image_size=32))
    with pytest.raises(ArtifactError, match="do not fit resnet34"):
        load_initial_weights(other, "resnet34", str(published))


def test_a_pickle_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(ArtifactError, match="not a readable safetensors file"):
        load_initial_weights(build(SETTINGS), "resnet18", str(tmp_path / "w.safetensors"))


def test_no_imagenet_weights_for_a_network_of_ours():
    with pytest.raises(SettingsError, match=r"given for resnet10; expected .* published for: resnet18"):
        load_initial_weights(
            build(NetworkSettings(network="resnet10", classes=5, image_size=32)), "resnet10", "imagenet"
        )


def test_published_vgg_names_become_torchvisions():
    with torch.device("meta"):
        network = models.vgg16(num_classes=1000)
        published = {key: value for key, value in network.state_dict().items() if key.startswith("features")}
        shapes = {"pre_logits.fc1": (4096, 512, 7, 7), "pre_logits.fc2": (4096, 4096, 1, 1), "head.fc": (1000, 4096)}
        for name, shape in shapes.items():
            published |= {f"{name}.weight": torch.empty(shape), f"{name}.bias": torch.empty(shape[0])}
    renamed = _torchvision_names(published, network)
    assert {key: value.shape for key, value in renamed.items()} == {
        key: value.shape for key, value in network.state_dict().items()
    }
