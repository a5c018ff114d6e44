"""Why a model server did not start, found in logs as servers write them. Model names and paths are made up."""

from __future__ import annotations

import pytest

from spcs_llm.control.start_failures import start_failure

CORE = "(EngineCore_DP0 pid=17374) ERROR 09-28 15:47:24 [core.py:718] "
# What vLLM writes last, whatever the reason: vllm-project/vllm#17939, #44411.
AFTERMATH = (
    f"{CORE}Traceback (most recent call last):\n"
    '(APIServer pid=1)   File "/usr/local/lib/python3.12/dist-packages/vllm/v1/engine/utils.py", line 1209, in wait\n'
    "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
)

LOGS = [
    # vllm-project/vllm#2248
    (
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when"
        " initializing the engine.",
        "memory",
        "--max-model-len",
    ),
    # vllm-project/vllm#2418, Graph-COM/SubgraphRAG#19
    (
        "ValueError: The model's max seq len (131072) is larger than the maximum number of tokens that can be stored in"
        " KV cache (39024). Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing.",
        "39024 tokens fit",
        "--max-model-len",
    ),
    # vLLM 0.32.0, v1/core/kv_cache_utils.py
    (
        "ValueError: To serve at least one request with the model's max seq len (262144), (36.0 GiB KV cache is needed,"
        " which is larger than the available KV cache memory (9.87 GiB). Based on the available memory, the estimated"
        " maximum model length is 71872. Try increasing `gpu_memory_utilization` (which also controls CPU memory on the"
        " CPU backend) or decreasing `max_model_len` when initializing the engine.",
        "71872 tokens fit",
        "--max-model-len",
    ),
    # vllm-project/vllm#25837, vllm-project/vllm-omni#1842
    (
        "ValueError: Free memory on device cuda:0 (3.22/22.0 GiB) on startup is less than desired GPU memory"
        " utilization (0.9, 19.8 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.",
        "other process",
        "--gpu-memory-utilization",
    ),
    (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 21.98"
        " GiB",
        "GPU does not have enough memory",
        "smaller",
    ),
    # vllm-project/vllm#1157, substratusai/vllm-docker#37
    (
        "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU has"
        " compute capability 7.5. You can use float16 instead by explicitly setting the`dtype` flag in CLI.",
        "bfloat16",
        "--dtype=half",
    ),
    # vLLM 0.32.0, config/model.py, config/vllm.py, renderers/chat_utils.py and model_loader/default_loader.py
    (
        "ValueError: The model type 'gemma3' does not support float16. Reason: Numerical instability. Please use"
        " bfloat16 or float32 instead.",
        "float16",
        "Remove --dtype=half",
    ),
    (
        "ValueError: torch.bfloat16 is not supported for quantization method awq. Supported dtypes: [torch.float16]",
        "needs float16",
        "Add --dtype=half",
    ),
    (
        "ValueError: The quantization method fp8 is not supported for the current GPU. Minimum capability: 89. Current"
        " capability: 86.",
        "too old",
        "newer GPUs",
    ),
    (
        "ValueError: The supplied chat template string (examples/tool_chat_template_llama3.jinja) appears path-like,"
        " but doesn't exist! Tried: examples/tool_chat_template_llama3.jinja",
        "--chat-template",
        "/vllm-workspace/examples",
    ),
    (
        "RuntimeError: Cannot find any model weights with `mistralai/Ministral-3-3B-Instruct-2512`",
        "no weights",
        "--load-format",
    ),
    # vllm-project/vllm#49497, #21960; odysseus-dev/odysseus#228
    (
        "RuntimeError: Could not find nvcc and default cuda_home='/usr/local/cuda' doesn't exist",
        "compiler",
        "VLLM_USE_FLASHINFER_SAMPLER",
    ),
    # vllm-project/production-stack#276, NVIDIA/nccl#525
    (
        "ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error. \n"
        "Last error:\nError while creating shared memory segment /dev/shm/nccl-F9ffgB (size 9637888)",
        "shared memory",
        "/dev/shm",
    ),
    # vLLM 0.32.0, v1/engine/utils.py: the exit codes of the processes; -9 is SIGKILL
    (
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s):"
        " {'EngineCore_DP0': -9}",
        "killed",
        "memory under limits",
    ),
    (
        "ERROR:    [Errno 98] error while attempting to bind on address ('0.0.0.0', 8000): address already in use",
        "port",
        "share one network",
    ),
    # text-embeddings-inference 1.9.3: backends/candle/src/lib.rs, router/src/lib.rs; its issues 533 and 600
    (
        "ERROR text_embeddings_backend: backends/src/lib.rs:567: Could not start Candle backend: Could not start"
        " backend: Runtime compute cap 75 is not compatible with compile time compute cap 80\nError: Could not create"
        " backend\n\nCaused by:\n    Could not start backend: Could not start a suitable backend",
        "not built for this GPU",
        "turing for T4",
    ),
    (
        "ERROR text_embeddings_backend: Could not start Candle backend: Could not start backend: cannot find tensor"
        " encoder.layer.0.attention.q_lin.weight\nError: Could not create backend",
        "does not know this kind of model",
        "newer image",
    ),
    (
        "Error: The `--pooling` arg is not set and we could not find a pooling configuration (`1_Pooling/config.json`)"
        " for this model.",
        "vectors",
        "last-token",
    ),
    (
        "Error: The maximum input length is `8192` which exceeds `--max-batch-tokens=2048`. Either increase"
        " `--max-batch-tokens` to at least `8192`, or set `--auto-truncate true`",
        "2048 tokens",
        "--auto-truncate",
    ),
    # vllm-project/vllm#18538, #42399
    (
        "vllm: error: unrecognized arguments: --enable-reasoning --reasoning-config"
        ' {"reasoning_start_str":"<think>"}',
        "--enable-reasoning, --reasoning-config",
        "vllm serve --help",
    ),
    # clap, which text-embeddings-inference parses its arguments with
    ("error: unexpected argument '--max-batch-size' found", "--max-batch-size", "release"),
    (
        "vllm serve: error: argument --kv-cache-dtype: invalid choice: 'fp9' (choose from 'auto', 'fp8')",
        "--kv-cache-dtype",
        "release",
    ),
    # vLLM 0.32.0, entrypoints/launchers/launcher.py
    (
        "KeyError: 'invalid tool call parser: llama (chose from { granite,hermes,llama3_json })'",
        "--tool-call-parser",
        "release",
    ),
    ("KeyError: 'invalid reasoning parser: qwen (chose from { qwen3 })'", "--reasoning-parser", "release"),
    # vllm-project/vllm#13579, QwenLM/Qwen3-VL#1515
    (
        "ValueError: The checkpoint you are trying to load has model type `qwen3_vl` but Transformers does not"
        " recognize this architecture. This could be because of an issue with the checkpoint.",
        "does not know this kind of model",
        "newer image",
    ),
    (
        "ValueError: Model architectures ['Qwen3_5ForConditionalGeneration'] are not supported for now. Supported"
        " architectures: dict_keys(['AquilaModel'])",
        "does not know this kind of model",
        "newer image",
    ),
    # vLLM 0.32.0, transformers_utils/config.py
    (
        "RuntimeError: Failed to load the model config. If the model is a custom model not yet available in the"
        " HuggingFace transformers library, consider setting `trust_remote_code=True` in LLM or using the"
        " `--trust-remote-code` flag in the CLI.",
        "contains its own code",
        "--trust-remote-code",
    ),
    # vllm-project/vllm#3676; pull 20904 says what the variable in the text brings about
    (
        "ValueError: User-specified max_model_len (131072) is greater than the derived max_model_len"
        " (max_position_embeddings=8192 or model_max_length=None in model's config.json). To allow overriding this"
        " maximum, set the env var VLLM_ALLOW_LONG_MAX_MODEL_LEN=1",
        "longer than the model",
        "--max-model-len",
    ),
    # vLLM 0.32.0, config/parallel.py and config/model.py
    (
        "ValueError: World size (4) is larger than the number of available GPUs (1) in this node.",
        "GPUs",
        "nvidia.com/gpu",
    ),
    (
        "ValueError: Total number of attention heads (14) must be divisible by tensor parallel size (4).",
        "--tensor-parallel-size",
        "divides",
    ),
    # ggml-org/llama.cpp#9665, NVIDIA/nvidia-container-toolkit#152
    (
        "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.9, please update your driver to a"
        " newer version, or use an earlier cuda container: unknown",
        "driver",
        "older",
    ),
    ("RuntimeError: The NVIDIA driver on your system is too old (found version 11040).", "driver", "older CUDA"),
    # vllm-project/vllm#18841
    (
        "RuntimeError: CUDA error: no kernel image is available for execution on the device",
        "not built for this GPU",
        "image",
    ),
    ("RuntimeError: Failed to infer device type, please set the environment variable", "no GPU", "nvidia.com/gpu"),
    ("exec /usr/bin/vllm: exec format error", "another processor", "linux/amd64"),
    # The Hub: soulteary/docker-llama2-chat#6, jhc13/taggui#367, Wan2GP#455
    (
        "OSError: You are trying to access a gated repo.\nMake sure to have access to it at"
        " https://huggingface.co/a/b.",
        "gated",
        "licence",
    ),
    (
        "huggingface_hub.errors.HfHubHTTPError: 401 Client Error: Unauthorized for url: https://huggingface.co/a/b"
        "/resolve/main/config.json (Request ID: Root=1-6863)\n\nInvalid credentials in Authorization header",
        "does not accept the token",
        "secret",
    ),
    (
        "huggingface_hub.errors.HfHubHTTPError: 429 Client Error: Too Many Requests for url: https://huggingface.co/a",
        "limits the number of downloads",
        "token",
    ),
    # KyanChen/RSPrompter#78, jncraton/languagemodels and others
    (
        "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the"
        " cached files.",
        "cannot reach Hugging Face",
        "EXTERNAL_ACCESS_INTEGRATIONS",
    ),
    (
        "(Caused by NameResolutionError(\"HTTPSConnection(host='huggingface.co', port=443): Failed to resolve"
        " 'huggingface.co' ([Errno -2] Name or service not known)\"))",
        "cannot reach Hugging Face",
        "EXTERNAL_ACCESS_INTEGRATIONS",
    ),
    (
        "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find the requested files in the disk cache and outgoing"
        " traffic has been disabled. To enable hf.co look-ups and downloads online, set 'local_files_only' to False.",
        "weights are not on its volume",
        "HF_HUB_OFFLINE",
    ),
    # huggingface/text-embeddings-inference#207
    (
        "Error: Could not download model artifacts\n\nCaused by:\n    0: request error: error sending request for url"
        " (https://huggingface.co/a/b/resolve/main/config.json): error trying to connect: dns error",
        "cannot reach Hugging Face",
        "EXTERNAL_ACCESS_INTEGRATIONS",
    ),
    # NVIDIA-NeMo/nemo-platform pull 2072, kijai/ComfyUI-Geowizard#10
    ("OSError: [Errno 28] No space left on device", "the disk is full", "HF_HOME"),
    ("PermissionError: [Errno 13] Permission denied: '/models/hub'", "may not write", "uid"),
    ("ModuleNotFoundError: No module named 'mistral_common'", "mistral_common", "image"),
    # sgl-project/sglang#4330, #322
    (
        "[2025-03-12 10:00:00 TP0] Scheduler hit an exception: Traceback (most recent call last):\n"
        "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.",
        "the weights leave no memory of the GPU",
        "--mem-fraction-static",
    ),
    # ollama/ollama#8447, #9260
    (
        "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 35533.34 MiB on device 0: cudaMalloc failed: out of"
        " memory\nllama_model_load: error loading model: unable to allocate CUDA0 buffer\n"
        "llama_load_model_from_file: failed to load model",
        "GPU does not have enough memory",
        "shorter context",
    ),
    # ollama/ollama#12634
    (
        "alloc_tensor_range: failed to allocate CPU buffer of size 437944320\n"
        "llama_model_load: error loading model: unable to allocate CPU buffer",
        "container does not have enough memory",
        "under limits",
    ),
    # ollama/ollama#4919
    ("Error: listen tcp 0.0.0.0:11434: bind: address already in use", "port", "different port"),
    # Avarok-Cybersecurity/dgx-vllm#16
    (
        "(APIServer pid=1) urllib3.exceptions.MaxRetryError: HTTPSConnectionPool(host='huggingface.co', port=443): Max"
        " retries exceeded with url: /openai/gpt-oss-120b/resolve/main/config.json (Caused by ConnectTimeoutError("
        "<HTTPSConnection(host='huggingface.co', port=443) at 0xf0ff>, 'Connection to huggingface.co timed out."
        " (connect timeout=10)'))",
        "cannot reach Hugging Face",
        "EXTERNAL_ACCESS_INTEGRATIONS",
    ),
    # chenhunghan/ialacol#58
    (
        "ERROR: Error downloading model: HTTPSConnectionPool(host='cdn-lfs.huggingface.co', port=443): Read timed"
        " out.",
        "cannot reach Hugging Face",
        "EXTERNAL_ACCESS_INTEGRATIONS",
    ),
    # llama.cpp, common/arg.cpp
    ("error: invalid argument: --embeddings-only", "--embeddings-only", "release"),
    # lyogavin/airllm#137, gpustack/gpustack#815, vllm-project/vllm#13899
    (
        "safetensors_rust.SafetensorError: Error while deserializing header: MetadataIncompleteBuffer",
        "incomplete or damaged",
        "again",
    ),
    # vllm-project/vllm#22043
    (
        "  Value error, Invalid repository ID or local directory specified: 'org/model'.\nPlease verify the"
        " following requirements:\n1. Provide a valid Hugging Face repository ID.",
        "does not have this model",
        "name of the model",
    ),
    # vllm-project/vllm#39774, gpustack/gpustack#835
    ("RuntimeError: NCCL error: unhandled system error (run with NCCL_DEBUG=INFO for details)", "GPUs", "/dev/shm"),
    # ollama/ollama#4912 and others: a runner that the kernel kills
    (
        'time=2026-08-26T09:53:44.346Z level=ERROR source=sched.go:451 msg="error loading llama server"'
        ' error="llama runner process has terminated: signal: killed"',
        "killed",
        "memory under limits",
    ),
    # ollama and llama.cpp of an earlier release
    (
        "llama_model_load: error loading model: error loading model architecture: unknown model architecture:"
        " 'gemma4'",
        "does not know this kind of model",
        "newer image",
    ),
    # sgl-project/sglang#15235 and its scheduler
    (
        "RuntimeError: Rank 0 scheduler died during initialization (exit code: -9). If exit code is -9 (SIGKILL), a"
        " common cause is the OS OOM killer.",
        "killed",
        "memory under limits",
    ),
    # huggingface/xet-core#407, meta-pytorch/torchforge#109
    (
        "RuntimeError: Data processing error: CAS service error : ReqwestMiddleware Error: Request failed after 5"
        " retries",
        "cannot reach Hugging Face",
        "EXTERNAL_ACCESS_INTEGRATIONS",
    ),
    # ollama/ollama#3434
    (
        'Error: pull model manifest: Get "https://models.example.com/v2/library/llama3/manifests/70b": dial tcp:'
        " lookup models.example.com on 10.0.0.2:53: no such host",
        "cannot reach",
        "EXTERNAL_ACCESS_INTEGRATIONS",
    ),
    (
        'Error: pull model manifest: Get "https://models.example.com/v2/library/llama3/manifests/70b": dial tcp'
        " 192.0.2.7:443: i/o timeout",
        "cannot reach",
        "EXTERNAL_ACCESS_INTEGRATIONS",
    ),
    # gpustack/gpustack#4678, ai-dynamo/dynamo#1101
    (
        "RuntimeError: Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling"
        " NumCudaDevices() that might have already set an error? Error 803: system has unsupported display driver /"
        " cuda driver combination",
        "driver",
        "LD_LIBRARY_PATH",
    ),
    # huggingface/text-embeddings-inference#670
    (
        'Error: Model backend is not healthy\n\nCaused by:\n    DriverError(CUDA_ERROR_OUT_OF_MEMORY, "out of'
        ' memory")',
        "GPU does not have enough memory",
        "smaller",
    ),
    # Marlin's kernels in vLLM
    (
        "ValueError: Weight output_size_per_partition = 32 is not divisible by min_thread_n = 64. Consider reducing"
        " tensor_parallel_size or running with --quantization gptq.",
        "--tensor-parallel-size",
        "GPUs",
    ),
    # vLLM, config/scheduler.py
    (
        "ValueError: max_num_batched_tokens (2048) is smaller than max_model_len (32768). This effectively limits"
        " the maximum sequence length to max_num_batched_tokens and makes vLLM reject longer sequences. Please"
        " increase max_num_batched_tokens or decrease max_model_len.",
        "--max-num-batched-tokens",
        "--max-model-len",
    ),
    # decoderesearch/interp-engine pull 2
    (
        "ValueError: Chunked MM input disabled but max_tokens_per_mm_item (2496) is larger than"
        " max_num_batched_tokens (2048). Please increase max_num_batched_tokens.",
        "2496",
        "--max-num-batched-tokens",
    ),
    # vLLM, entrypoints/openai/cli_args.py
    ("TypeError: Error: --enable-auto-tool-choice requires --tool-call-parser", "--tool-call-parser", "Add"),
    # vllm-project/vllm#19050
    (
        "  Value error, Quantization method specified in the model config (compressed-tensors) does not match the"
        " quantization method specified in the `quantization` argument (awq). [type=value_error,"
        " input_value=ArgsKwargs((), {'model': ...}), input_type=ArgsKwargs]",
        "quantized",
        "Remove --quantization",
    ),
    # Triton, which vLLM and SGLang compile kernels with
    (
        "RuntimeError: Failed to find C compiler. Please specify via CC environment variable or set"
        " triton.knobs.build.impl.",
        "compiler",
        "image",
    ),
    # vllm-project/vllm#31444
    ("ValueError: No tokenizer file found in directory: /data/models/minimax_m2", "no tokenizer", "Check"),
    # containerd, of a command that the image does not have
    ('exec: "vllm": executable file not found in $PATH: unknown', "command", "command"),
    ("/bin/sh: 1: vllm: not found", "command", "command"),
    # sgl-project/sglang#24843
    (
        "ValueError: think_end_token '</think>' must encode to exactly one token for constrained reasoning.",
        "--reasoning-parser",
        "release",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("log", "reason", "hint"), LOGS)
@pytest.mark.parametrize("after", ["", AFTERMATH], ids=["last", "then-the-rest-of-the-log"])
def test_the_reason_is_found_in_the_log_with_what_to_do(log: str, reason: str, hint: str, after: str) -> None:
    before = "INFO 09-28 15:47:01 [api_server.py:1839] vLLM API server version 0.30.0\n"
    found = start_failure(f"{before}{log}\n{after}")
    assert found is not None
    assert reason in found.reason
    assert hint in found.hint


def test_the_prefix_of_a_process_is_no_obstacle() -> None:
    found = start_failure(f"{CORE}ValueError: No available memory for the cache blocks.\n{AFTERMATH}")
    assert found is not None and "memory" in found.reason


def test_of_several_reasons_the_last_counts() -> None:
    """A download that was limited and went on is not why the model did not fit."""
    log = (
        "WARNING 429 Client Error: Too Many Requests for url: https://huggingface.co/a. Retrying.\n"
        + LOGS[0][0]
    )
    found = start_failure(log)
    assert found is not None and "--max-model-len" in found.hint


@pytest.mark.parametrize(
    "log",
    [
        "",
        "INFO: Application startup complete.",
        AFTERMATH,
        "INFO [loggers.py:127] Engine 000: Avg prompt throughput: 12.1 tokens/s, GPU KV cache usage: 3.1%",
        "INFO [kv_cache_utils.py:849] GPU KV cache size: 120,832 tokens",
        "Available KV cache memory: 9.87 GiB",
        "WARN The maximum input length is `8192` which exceeds `--max-batch-tokens=2048`. Input sequences will be"
        " truncated to `2048` tokens, as `--auto-truncate` is either not provided",
        "WARNING [parallel.py:746] Address already in use. Retrying with a new port.",
        "INFO [scheduler.py:238] Chunked prefill is enabled with max_num_batched_tokens=2048.",
        "/bin/sh: 1: sox: not found",  # a program that the server can do without
        "pulling manifest",
        'INFO: "POST /v1/chat/completions HTTP/1.1" 400 Bad Request: "auto" tool choice requires'
        " --enable-auto-tool-choice and --tool-call-parser to be set",
        "pynccl.py:103] vLLM is using nccl==2.27.3",
        "non-default args: {'model_tag': 'a/b', 'trust_remote_code': True, 'gpu_memory_utilization': 0.9}",
    ],
)
def test_a_log_without_a_reason_has_none(log: str) -> None:
    assert start_failure(log) is None


def test_only_names_of_arguments_are_taken_from_a_log() -> None:
    """What follows an unknown argument may be a key."""
    found = start_failure("vllm: error: unrecognized arguments: --old-api-key s3cr3t --other=s3cr3t <b>")
    assert found is not None
    assert "--old-api-key, --other" in found.reason
    assert "s3cr3t" not in found.reason + found.hint and "<" not in found.reason
