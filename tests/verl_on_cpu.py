"""What verl needs to train on processors, so that a test can run all of it on one machine.

Every process of verl's imports this module (VERL_USE_EXTERNAL_MODULES): it registers a platform
without an accelerator and an inference server over our own sampler. The engine is verl's own, which
VERL_ENGINE_DEVICE=cuda picks.
Nothing of ours is replaced: agent loop, trainer and manager are those that run on GPUs.
"""

from __future__ import annotations

import os
from contextlib import nullcontext

import torch
import verl.utils.distributed
import verl.workers.config.model
from verl.plugin.platform.platform_base import PlatformBase
from verl.plugin.platform.platform_manager import PlatformRegistry
from verl.workers.rollout.base import _ROLLOUT_REGISTRY, BaseRollout
from verl.workers.rollout.replica import RolloutReplica, RolloutReplicaRegistry

SERVER = "cpu"
"""The name of the inference server, as `actor_rollout_ref.rollout.name`."""
torch.set_num_threads(1)


class _Nothing:
    """The module of a device that is none: nothing to free, to wait for or to measure."""

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **kwargs: 0

    def is_available(self):
        return False

    def get_device_name(self):
        return "CPU"

    def mem_get_info(self, *args):
        return 0, 0

    def get_rng_state(self):
        return torch.get_rng_state()

    def set_rng_state(self, state):
        torch.set_rng_state(state)


@PlatformRegistry.register(platform="cpu")
class Cpu(PlatformBase):
    device_name = "cpu"
    vendor_name = "none"
    device_module = _Nothing()

    def is_available(self):
        return True

    def current_device(self):
        return "cpu"

    def device_count(self):
        return 1

    def set_device(self, device_index):
        pass

    def synchronize(self, device_index=None):
        pass

    def manual_seed(self, seed):
        torch.manual_seed(seed)

    def manual_seed_all(self, seed):
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings):
        pass

    def empty_cache(self):
        pass

    def get_device_capability(self, device_index=0):
        return None, None

    def communication_backend_name(self):
        return "gloo"

    def visible_devices_envvar(self):
        return "CUDA_VISIBLE_DEVICES"

    def nvtx_range(self, msg):
        return nullcontext()

    def profiler_start(self):
        pass

    def profiler_stop(self):
        pass

    def ray_resource_name(self):
        return "GPU"

    def ray_noset_envvars(self):
        return []

    def is_ipc_supported(self):
        return False

    def cudart(self):
        return None


def _gloo_alone(timeout_second=None, backend=None):
    """verl names two backends, one for each kind of device; here both would be the same."""
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group(
            backend="cpu:gloo",
            rank=int(os.environ.get("RANK", "0")),
            world_size=int(os.environ.get("WORLD_SIZE", "1")),
            init_method=os.environ.get("DIST_INIT_METHOD"),
        )


verl.utils.distributed.initialize_global_process_group_ray = _gloo_alone
torch.Tensor.pin_memory = lambda self, *args, **kwargs: self


def _server_name(replica):
    return f"cpu_server_{replica}"


class CpuReplica(RolloutReplica):
    async def launch_servers(self):
        import ray

        from verl_cpu_server import CpuServer

        options = ray.remote(CpuServer).options(
            name=_server_name(self.replica_rank), num_cpus=0, max_concurrency=1000
        )
        server = options.remote(self.model_config.path)
        await server.ready.remote()
        self.servers = [server]
        self._server_handle = server
        self._server_address = _server_name(self.replica_rank)


class CpuRollout(BaseRollout):
    """The trainer's side of the servers."""

    async def resume(self, tags):
        pass

    async def release(self):
        pass

    async def update_weights(self, weights, global_steps=None, **_):
        import ray

        taken = {name: value.detach().clone() for name, value in weights}
        server = ray.get_actor(_server_name(os.environ["RANK"]))
        await server.load.remote(taken, global_steps)


RolloutReplicaRegistry.register(SERVER, lambda: CpuReplica)
_ROLLOUT_REGISTRY[SERVER, "async"] = "verl_on_cpu.CpuRollout"


class ImageTextProcessor:
    """Images and text of Qwen2.5-VL. The library's own wants torchvision, for films."""

    def __init__(self, folder):
        from transformers import AutoConfig, AutoTokenizer
        from transformers.models.qwen2_5_vl import Qwen2_5_VLModel
        from transformers.models.qwen2_vl import Qwen2VLImageProcessor

        from palimpsest.training.families import family_of

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.config = AutoConfig.from_pretrained(folder)
        eyes = family_of(self.config).eyes
        self.image_processor = Qwen2VLImageProcessor(
            patch_size=eyes.patch_px,
            merge_size=eyes.merge,
            temporal_patch_size=eyes.frames,
            image_mean=eyes.mean,
            image_std=eyes.deviation,
            min_pixels=1,
            max_pixels=2**24,
        )
        self.chat_template = self.tokenizer.chat_template
        self.image_token = "<|image_pad|>"
        self.video_token = "<|video_pad|>"
        self.image_token_id = self.config.image_token_id
        self.video_token_id = self.config.video_token_id
        self.get_rope_index = Qwen2_5_VLModel.get_rope_index.__get__(self)
        if hasattr(Qwen2_5_VLModel, "get_vision_position_ids"):
            self.get_vision_position_ids = Qwen2_5_VLModel.get_vision_position_ids.__get__(self)

    def __call__(self, text=None, images=None, videos=None, **_):
        from transformers import BatchFeature

        encoded = self.tokenizer(text, add_special_tokens=False)
        found = {name: encoded[name] for name in ("input_ids", "attention_mask")}
        if images:
            found |= dict(self.image_processor(images=images))
        found["mm_token_type_ids"] = [[0] * len(ids) for ids in found["input_ids"]]
        return BatchFeature(found)

    def save_pretrained(self, folder):
        self.tokenizer.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)


def _processor(folder, **kwargs):
    from transformers import AutoConfig

    seeing = AutoConfig.from_pretrained(folder).model_type == "qwen2_5_vl"
    return ImageTextProcessor(folder) if seeing else None


# Where it is looked up by name.
verl.workers.config.model.hf_processor = _processor
