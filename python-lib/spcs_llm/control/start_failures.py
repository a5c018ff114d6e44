"""Why a model server did not start, as its log says it, and what to do about it.

SHOW SERVICE CONTAINERS says no more than that a container crashed, and the last lines of vLLM's log only that the cause
stands above them. Wordings: vLLM 0.5 to 0.32 (`v1/core/kv_cache_utils.py`, `v1/worker/utils.py`, `platforms/cuda.py`,
`config`, `entrypoints`), text-embeddings-inference 1.9.3, SGLang, llama.cpp, Ollama, huggingface_hub, hf_xet,
safetensors, transformers, PyTorch, Triton, NVIDIA's container toolkit. Nothing of a log is passed on but numbers and
names of arguments and packages: it may quote requests and keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from spcs_llm.control import statements
from spcs_llm.control.container_messages import log_may_tell
from spcs_llm.control.identifiers import QualifiedName
from spcs_llm.control.services import Container
from spcs_llm.control.session import SqlSession
from spcs_llm.errors import SpcsError

GATED, WRONG_TOKEN, NOT_ON_THE_HUB = "gated", "wrong token", "not on the hub"
LIMITED, UNREACHABLE, FULL = "limited", "unreachable", "full"

_LINES = 1000  # of a log: a traceback of vLLM has some hundred, and there is one for each of its processes
_MAX_LINE = 2000  # characters
_OPTION = re.compile(r"--[a-z][a-z0-9-]{0,60}(?![a-z0-9-])")
_OTHER_RELEASE = (
    "Correct the argument, or use a release of the server that has it: arguments are renamed and removed between"
    " releases, and `vllm serve --help` lists them."
)
_NEEDS_EGRESS = (
    "Give the service EXTERNAL_ACCESS_INTEGRATIONS that allow the hosts of Hugging Face (setup.sql lists them), or put"
    " the weights into the image or on a volume."
)


@dataclass(frozen=True)
class StartFailure:
    """Why a model server did not start.

    Attributes:
        reason: A sentence without a capital and a full stop.
        hint: What to do about it.
        kind: What it is called in this module, for those who know better what to do; "" for most.
    """

    reason: str
    hint: str
    kind: str = ""

    def __str__(self) -> str:
        return f"its log says that {self.reason}"


# What a line says -> the reason, the hint, the kind. The first that fits a line counts. In a reason, {options} stands
# for the names of the arguments in the line, and other names for groups of the pattern.
_RULES: tuple[tuple[re.Pattern[str], str, str, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), reason, hint, kind)
    for pattern, reason, hint, kind in (
        (
            r"max(?:imum)? (?:seq|model) len(?:gth)? .{0,300}KV cache.{0,120}(?:estimated maximum model length is |\()"
            r"(?P<fits>\d{1,9})(?:\)| ?\.)",
            "the GPU does not have enough memory for the longest text that --max-model-len allows: {fits} tokens"
            " fit",
            "Lower --max-model-len to what fits, or use a compute pool whose GPUs have more memory.",
            "",
        ),
        (
            r"No available memory for the cache blocks|larger than the available KV cache memory",
            "the weights leave no memory of the GPU for the longest text that --max-model-len allows",
            "Lower --max-model-len, choose a smaller or quantized model, or use a compute pool whose GPUs have more"
            " memory.",
            "",
        ),
        (
            r"Free memory on device .{0,200}less than",
            "another process is using the memory of the GPU",
            "Lower --gpu-memory-utilization, or let only one container of the service use the GPU.",
            "",
        ),
        (
            r"Not enough memory\b.{0,80}--mem-fraction-static",
            "the weights leave no memory of the GPU for texts",
            "Raise --mem-fraction-static, choose a smaller or quantized model, or use a compute pool whose GPUs have"
            " more memory.",
            "",
        ),
        (
            r"cudaMalloc failed|unable to allocate CUDA\d* buffer",
            "the GPU does not have enough memory for the GGUF model",
            "Choose a smaller or quantized model or a shorter context, or use a compute pool whose GPUs have more"
            " memory.",
            "",
        ),
        (
            r"unable to allocate CPU buffer",
            "the container does not have enough memory for the model",
            "Raise the memory under limits in the specification, choose a smaller or quantized model, or use a compute"
            " pool whose nodes have more.",
            "",
        ),
        (
            r"DriverError\(CUDA_ERROR_OUT_OF_MEMORY",  # of Candle, in text-embeddings-inference
            "the GPU does not have enough memory for --max-batch-tokens",
            "Lower --max-batch-tokens, choose a smaller model, or use a compute pool whose GPUs have more memory.",
            "",
        ),
        (
            r"CUDA (?:error: )?out of memory|torch\.(?:cuda\.)?OutOfMemoryError",
            "the GPU does not have enough memory",
            "Choose a smaller or quantized model, lower --max-model-len and --max-num-seqs, or use a compute pool"
            " whose GPUs have more memory.",
            "",
        ),
        (
            r"Bfloat16 is only supported on GPUs",
            "the GPU is too old for weights in bfloat16",
            "Add --dtype=half to the server's arguments, or use a compute pool with newer GPUs: the nodes of"
            " GPU_NV_XS have a T4, which is too old.",
            "",
        ),
        (
            r"The model type .{1,80} does not support float16",
            "the model does not work in float16, which --dtype=half selects",
            "Remove --dtype=half, and use a compute pool whose GPUs have bfloat16: those of GPU_NV_XS do not.",
            "",
        ),
        (
            r"float16 is not supported for quantization method|Supported dtypes: \[torch\.float16\]",
            "the way in which the model is quantized needs float16",
            "Add --dtype=half to the server's arguments.",
            "",
        ),
        (
            r"is not supported for the current GPU\. Minimum capability",
            "the GPU is too old for the way in which the model is quantized",
            "Choose a model that is not quantized, or is quantized in another way, or use a compute pool with newer"
            " GPUs.",
            "",
        ),
        (
            r"chat template .{1,300}(?:appears path-like, but doesn't exist|looks like a file path, but it failed)",
            "the container does not have the file that --chat-template names",
            "Name a file of the image, such as those in /vllm-workspace/examples of vLLM's, or mount a stage that has"
            " the file.",
            "",
        ),
        (
            r"Could not find nvcc|nvcc: not found|CUDA compiler and CUDA toolkit headers are incompatible",
            "the server compiles code for the GPU, and the image has no suitable compiler",
            "Set VLLM_USE_FLASHINFER_SAMPLER to 0 in env of the specification, or use the image vllm/vllm-openai as it"
            " is, of another release.",
            "",
        ),
        (
            r"Failed to find C compiler",
            "the server compiles code for the GPU, and the image does not contain a C compiler",
            "Use an image that contains gcc, such as those of the server's authors.",
            "",
        ),
        (
            r"Error while creating shared memory segment|\bBus error\b",
            "the shared memory of the container is too small",
            "Mount a larger volume with the source memory at /dev/shm: vllm.yaml has one.",
            "",
        ),
        (
            r"NCCL error: unhandled system error",
            "the GPUs of the container cannot exchange data",
            "Mount a larger volume with the source memory at /dev/shm: vllm.yaml has one. If it is large enough, set"
            " NCCL_DEBUG to INFO in env of the specification, and read the log again.",
            "",
        ),
        (
            r"Failed core proc\(s\): \{'\w{1,40}': -9|\bexit code: -9\b|process has terminated: signal: killed",
            "the server's process was killed, as happens when the container has no memory left",
            "Raise the memory under limits in the specification, or use a compute pool whose nodes have more.",
            "",
        ),
        (
            r"bind on address .{1,80} address already in use|address already in use \(os error|"
            r"OSError: .{1,20} Address already in use|listen tcp .{1,80}: address already in use",
            "the port of the server is taken",
            "Let each container of the service use a different port: they share one network.",
            "",
        ),
        (
            r'exec: "[^"]{1,200}": executable file not found'
            r"|\bsh: (?:\d{1,4}: |line \d{1,4}: )?(?:exec: )?(?:vllm|python3?|sglang|ollama|llama-server"
            r"|text-embeddings-router|uvicorn): (?:command )?not found",
            "the image does not contain the command that the specification names",
            "Correct command and args of the container in the specification, or leave out command: the image has one.",
            "",
        ),
        (
            r"Error while deserializing header|gguf_init_from_\w{1,20}: invalid magic|model is corrupted or incomplete",
            "a file of the weights is incomplete or damaged",
            "Delete the model's folder from its volume, so that the server downloads it again. A file of some hundred"
            " bytes is a pointer of Git LFS: upload the file itself.",
            "",
        ),
        (
            r"No tokenizer file found in directory",
            "the model's folder has no tokenizer that the server can read",
            "Check that the folder has all files of the model's repository. If it has, use another release of the"
            " server.",
            "",
        ),
        (
            r"Cannot find any model weights with",
            "the model's repository or folder has no weights that the server can read",
            "Check the model's name and its volume. For a model of Mistral, leave out --load-format, or set it to"
            " mistral.",
            "",
        ),
        (
            r"error: unrecognized arguments?:|error: unexpected argument|error: argument .{1,120}: invalid choice"
            r"|^error: invalid argument: --",
            "the server does not recognize an argument or its value: {options}",
            _OTHER_RELEASE,
            "",
        ),
        (
            r"Error: --enable-auto-tool-choice requires --tool-call-parser",
            "--enable-auto-tool-choice also needs --tool-call-parser",
            "Add --tool-call-parser with the parser that the model's page names.",
            "",
        ),
        (
            r"think_end_token .{1,60} must encode to exactly one token",
            "the parser that --reasoning-parser names does not match the model",
            "Correct or remove --reasoning-parser, or use another release of the server.",
            "",
        ),
        (
            r"invalid tool call parser",
            "the server does not know the parser that --tool-call-parser names",
            _OTHER_RELEASE,
            "",
        ),
        (
            r"invalid reasoning parser",
            "the server does not know the parser that --reasoning-parser names",
            _OTHER_RELEASE,
            "",
        ),
        (
            r"does not recognize this architecture|unknown model architecture: '"
            r"|Could not start backend: (?:Model is not supported|cannot find tensor)"
            r"|Model architectures? .{1,300} (?:are|is) not supported",
            "the server does not know this kind of model",
            "Use a newer image of the server, or an older one if the model is old. For a service of the model registry,"
            " Snowflake chooses the image: log another model.",
            "",
        ),
        (
            r"requires you to execute the \w+ file|consider setting `trust_remote_code=True`",
            "the model's repository contains its own code, which the server does not run unless it is told to",
            "Choose a model that does not need it. If you have read the code and trust it, add --trust-remote-code to"
            " the arguments.",
            "",
        ),
        (
            r"User-specified max_model_len .{1,40} is greater than the derived",
            "--max-model-len is longer than the model supports",
            "Lower --max-model-len to the length that the model's config.json has. Do not override the check: longer"
            " texts then end in embeddings of NaN, or in a crash.",
            "",
        ),
        (
            r"max_num_batched_tokens \((?P<tokens>\d{1,9})\) is smaller than max_model_len",
            "--max-num-batched-tokens, {tokens}, is less than the longest text that --max-model-len allows",
            "Raise --max-num-batched-tokens, or lower --max-model-len, until they are equal.",
            "",
        ),
        (
            r"max_tokens_per_mm_item \((?P<tokens>\d{1,9})\) is larger than max_num_batched_tokens",
            "an image has more tokens, {tokens}, than --max-num-batched-tokens allows",
            "Raise --max-num-batched-tokens to at least that number.",
            "",
        ),
        (
            r"Quantization method specified in the model config .{1,80} does not match",
            "the model is quantized in another way than --quantization says",
            "Remove --quantization: the server reads it from the model's config.json.",
            "",
        ),
        (
            r"is not divisible by (?:min_thread_[nk]|weight quantization block_[nk])",
            "--tensor-parallel-size does not work with the way in which the model is quantized",
            "Lower --tensor-parallel-size, and use fewer GPUs, or choose a model that is quantized in another way.",
            "",
        ),
        (
            r"`--pooling` arg is not set and we could not find",
            "the model's repository does not say how to pool the vectors of its tokens",
            "Add --pooling with what the model's page says: cls, mean or last-token.",
            "",
        ),
        (
            r"exceeds `--max-batch-tokens=(?P<tokens>\d{1,9})`\. Either increase",
            "the model reads longer texts than --max-batch-tokens allows, {tokens} tokens, and is not allowed to"
            " truncate them",
            "Raise --max-batch-tokens, if the memory suffices, or add --auto-truncate.",
            "",
        ),
        (
            r"World size .{1,20}larger than the number of available GPUs|number of required GPUs exceeds",
            "the arguments of the server ask for more GPUs than its container has",
            "Set --tensor-parallel-size to the number of GPUs (nvidia.com/gpu) that the specification requests.",
            "",
        ),
        (
            r"must be divisible by tensor.parallel.size",
            "--tensor-parallel-size does not work with this model",
            "Choose a number of GPUs that divides the model's number of attention heads: 1, 2, 4 or 8.",
            "",
        ),
        (
            r"Error 80[34]: |unsupported display driver ?/ ?cuda driver combination",
            "the image's own libraries of the driver do not match the driver of the compute pool's nodes",
            "Set LD_LIBRARY_PATH to /usr/local/nvidia/lib64:/usr/local/nvidia/lib in env of the specification, or use"
            " an image for an older CUDA version: of vLLM, those whose tag ends in it, such as -cu129.",
            "",
        ),
        (
            r"unsatisfied condition: cuda|NVIDIA driver on your system is too old|CUDA driver version is insufficient",
            "the driver of the compute pool's nodes is older than the image requires",
            "Use an image for an older CUDA version: of vLLM, those whose tag ends in it, such as -cu129.",
            "",
        ),
        (
            r"no kernel image is available|Runtime compute cap \d+ is not compatible",
            "the image is not built for this GPU",
            "Use an image of the server that is built for this GPU, or a compute pool with other GPUs. The tags of"
            " text-embeddings-inference begin with what they are for: turing for T4, 86 for A10, 89 for L4 and L40S,"
            " cpu for none.",
            "",
        ),
        (
            r"Failed to infer device type|No CUDA GPUs are available|Found no NVIDIA driver",
            "the container has no GPU",
            "Request nvidia.com/gpu in the specification, under requests and limits, and use a compute pool with GPUs.",
            "",
        ),
        (
            r"exec format error",
            "the image is built for another processor",
            "Build or pull the image for linux/amd64 (docker pull --platform linux/amd64), or for linux/arm64 if the"
            " compute pool is of a family GEN_ARM.",
            "",
        ),
        (
            r"\bgated repo\b|Access to model .{1,200} is restricted",
            "Hugging Face does not give this model: it is gated",
            "Accept the licence on the model's page, and give the container the token of the account that accepted"
            " it: a secret as HF_TOKEN in the specification.",
            GATED,
        ),
        (
            r"Invalid credentials in Authorization header|Invalid user token|User Access Token .{1,80} is expired",
            "Hugging Face does not accept the token",
            "Create a new token on Hugging Face, and store it in the secret, without blanks or quotes.",
            WRONG_TOKEN,
        ),
        (
            r"Repository Not Found for url|Revision Not Found for url|is not a valid model identifier"
            r"|Invalid repository ID or local directory specified",
            "Hugging Face does not have this model or revision, or it is private",
            "Check the name of the model and its revision. A private model needs a token: a secret as HF_TOKEN in the"
            " specification.",
            NOT_ON_THE_HUB,
        ),
        (
            r"429.{0,40}Too Many Requests|Too Many Requests.{0,40}huggingface",
            "Hugging Face limits the number of downloads without a token",
            "Give the container a token of Hugging Face: a secret as HF_TOKEN in the specification.",
            LIMITED,
        ),
        (
            r"outgoing traffic has been disabled|offline mode is enabled|OfflineModeIsEnabled",
            "the weights are not on its volume, and it may not download them",
            "Set HF_HUB_OFFLINE to 0 until the weights are there (create_openai_services.sql does that), and give the"
            " service its EXTERNAL_ACCESS_INTEGRATIONS.",
            "",
        ),
        (
            r"pull model manifest: Get .{0,200}\b(?:dial tcp|read tcp|proxyconnect tcp)\b",
            "the container cannot reach the registry of Ollama's models",
            "Give the service EXTERNAL_ACCESS_INTEGRATIONS that allow the hosts of that registry, or put the model into"
            " the image or on a volume.",
            "",
        ),
        (
            r"Failed to resolve '|Name or service not known|Temporary failure in name resolution|dns error|ConnectError"
            r"|CAS service error : (?:ReqwestMiddleware|Reqwest|Request)\b"
            r"|couldn't connect to 'https://huggingface\.co|error sending request for url \(https://huggingface"
            r"|\b(?:huggingface|hf)\.co\b.{0,80}\btimed out",
            "the container cannot reach Hugging Face",
            _NEEDS_EGRESS,
            UNREACHABLE,
        ),
        (
            r"No space left on device|Not enough free disk space",
            "the disk is full",
            "Mount a block volume that is large enough, and let HF_HOME name it. If /dev/shm is full, enlarge its"
            " volume of source memory.",
            FULL,
        ),
        (
            r"PermissionError: .{0,40}Permission denied",
            "the server may not write to one of its folders",
            "For a stage, set uid and gid of its volume in the specification to those of the container's user. Other"
            " volumes do not have these settings: use an image whose user is root.",
            "",
        ),
        (
            r"ModuleNotFoundError: No module named '(?P<module>[\w.]{1,80})'",
            "the image does not contain the Python package {module}",
            "Use an image that contains it.",
            "",
        ),
    )
)


def known() -> list[StartFailure]:
    """All reasons, with an ellipsis for what a log adds to them."""
    return [StartFailure(re.sub(r"\{\w+\}", "…", reason), hint, kind) for _, reason, hint, kind in _RULES]


def start_failure(log: str) -> StartFailure | None:
    """Looks for the reason in a log.

    Args:
        log: The lines of the log, the oldest first.

    Returns:
        The last reason in it; None if none is known.
    """
    for line in reversed(log.splitlines()):
        found = _told_by(line[:_MAX_LINE])
        if found is not None:
            return found
    return None


def _told_by(line: str) -> StartFailure | None:
    for pattern, reason, hint, kind in _RULES:
        match = pattern.search(line)
        if match is not None:
            options = ", ".join(_OPTION.findall(line)) or "see its log"
            return StartFailure(reason.format(options=options, **match.groupdict()), hint, kind)
    return None


def start_failures(
    session: SqlSession, service: QualifiedName, containers: Iterable[Container]
) -> list[StartFailure]:
    """Reads why containers ended in their logs, where Snowflake does not say it. That needs MONITOR on the service.

    Args:
        session: Runs the statements.
        service: The service.
        containers: Its containers.

    Returns:
        The reasons, each once. What cannot be read is left out.
    """
    found = (_failure_of(session, service, container) for container in containers if log_may_tell(container))
    return list(dict.fromkeys(failure for failure in found if failure is not None))


def _failure_of(session: SqlSession, service: QualifiedName, container: Container) -> StartFailure | None:
    return next(filter(None, map(start_failure, _logs(session, service, container))), None)


def _logs(session: SqlSession, service: QualifiedName, container: Container) -> Iterator[str]:
    """The log before the last restart, then the current one, which may hold nothing but a beginning."""
    for before_restart in (True, False) if container.restarts else (False,):
        statement = statements.logs(
            service, container.name, _LINES, container.instance_id, before_restart=before_restart
        )
        try:
            rows = session.rows(statement)
        except SpcsError:
            continue
        yield next((cell or "" for row in rows for cell in row.values()), "")
