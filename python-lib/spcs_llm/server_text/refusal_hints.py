"""What to do about a refusal, as far as the server's own reason says."""

from __future__ import annotations

import re

CHECK_PROTOCOL = "Check that 'Service protocol' matches the API of the service."
SEE_LOGS = "Its logs have more details: SYSTEM$GET_SERVICE_LOGS."
CHECK_SERVICE_KEY = "If the container requires a key, check 'Service API key'."
_MOST_OF_A_REASON = 1000  # characters
_OTHER_KIND = re.compile(
    r"\b(model|server)\b.{0,40}(not|n't)( appear to be| support)? (an? |the )?"
    r"(embeddings?|re-?rank\w*|scor(e|ing)|pooling)( \(\w+\))?( api| models?)?( by default)?(\W*$|[.,;:!])"
    r"|\bpooling type .{0,2}none\b"  # llama.cpp
    r"|\bdoes not support (chat|generate)(\W*$|[.,;:!])"  # Ollama
    r"|\bis an embedding model\b"
    r"|\bis not for ((creating )?embedding|reranking|chat|generate)\b"  # Xinference
    r"|\bcan ?not ful\w+ .{0,3}(embed|rerank)"  # Infinity
    r"|unexpected endpoint or method"  # LM Studio
    r"|^rpc error: code = (unimplemented\b|unknown desc = unimplemented\b)"  # LocalAI
    r"|^score: input should be a valid number",  # SGLang, of its own response with a vector as the score
    re.IGNORECASE,
)
# Of the range of a sampling setting, which a server may call its input or count in tokens (TGI: `top_n_tokens`).
_RANGE_OF_A_SETTING = re.compile(
    r"(?<![A-Za-z_])(temperature|(top|min|typical)_?[pk]|top_n_tokens|(top_?)?log_?probs|logit_bias|best_of|seed"
    r"|(frequency|presence|repetition)[ _]?penalty)(?![A-Za-z_])"
    r".{0,20}\b(must|should|exceed\w*|cannot|can only|out of)\b",
    re.IGNORECASE,
)
# Of a prompt, or of a prompt and the tokens that were asked for.
_LENGTHS = re.compile(
    r"context (length|size|window)|maximum (context|model|input|sequence|prompt)"
    r"|exceed\w* (\w+ ){0,6}(max_\w{0,20})?(context|token|len|limit|maximum)(?!\w* queue)"
    r"|\b(prompt|sequence) (has|length)\b.{0,40}\b(larger|greater|longer) than\b"  # MLC-LLM, mistral.rs
    r"|too long|too many (input )?tokens|max_model_len|less than \d+ tokens|physical batch size"
    r"|(tokens?|inputs?|length)\W.{0,60}(<=|<|must be|must have) ?.{0,20}\d|n_ctx|reduce the length"
    r"|longer than allowed|length should be \[?\d|at most \d+ (characters|tokens)|allowed token size"
    r"|tokens must be .{0,30}\bgot -\d|too big compared to kv"
    # LightLLM compares a sum with the limit, TensorRT-LLM says what is left of it.
    r"|\b(prompt|input|tokens?|sequence)[ _](len|length|tokens?)\b.{0,60}\d ?>=? ?\d{2}|default_max_tokens\W{1,3}-\d"
    # Of PyTorch, where a text has more tokens than the model has positions: a power of two, with RoBERTa two more.
    r"|size of (the )?tensor( \w)? \(\d{3,6}\) must match the (existing size|size of tensor b)"
    r" \((512|514|1024|1026|2048|2050|4096|4098|8192|8194)\)",
    re.IGNORECASE,
)
_RESULT_IS_MISSING = re.compile(
    r"followed by tool (messages|results)|not have response messages|same number of function calls",
    re.IGNORECASE,
)
_ANSWER_IS_MISSING = re.compile(r"\brole .?user.? after role .?tool\b", re.IGNORECASE)
# Of what the model has written, by chance: not of the request.
_UNREADABLE = re.compile(
    r"harmony ?error|unexpected token \d+ while|unexpected tokens remaining in message header"
    r"|^invalid diff\b|failed to parse input at pos \d"  # llama.cpp
    # Ollama; Groq's API; SGLang and TGI; vLLM
    r"|\berror parsing tool call\b|\bfailed to call a function\b|\bfailed to parse (fc related|generated text)\b"
    r"|\bvalidation errors? for list\[",
    re.IGNORECASE,
)
_USED_UP = re.compile(
    r"\bbudget has been exceeded|\bexceeded budget\b|\binsufficient[_ ](user[_ ])?(quota|credits?|balance)\b"
    r"|\bquota is not enough\b"
    r"|\bexceeded your current quota\b|\bbalance is too low\b|\brequires more credits\b|\bno credits remaining\b"
    r"|\baccount is in (good standing|arrears)\b|\bout of call volume quota\b|\bkey limit exceeded\b",
    re.IGNORECASE,
)
# Of a prompt, in words that no failure of a server has.
_PROMPT_IS_TOO_LONG = re.compile(
    r"\bcontext[ _](length|window|size)(_exceeded)?\b|\b(prompt|input) is too long\b"
    r"|\breduce the length\b|\bmax_model_len\b",
    re.IGNORECASE,
)
_PROVIDER_FAILED = re.compile(r"\bfailed to get (a )?response from (the )?provider\b", re.IGNORECASE)
# Of a request that is larger than all that may be asked within a minute: waiting does not help.
_TOO_LARGE = re.compile(r"\brequest (is )?too large\b", re.IGNORECASE)
_FILTERED = re.compile(
    r"\bcontent[ _]?filter(s|ed|ing)?\b|\bcontent[ _](management[ _])?polic(y|ies)|\bcontent was filtered\b"
    r"|\bcontent (has been |was |is )?(blocked|flagged)\b|\b(input|prompt) (has been |was |is )?(blocked|flagged)\b"
    r"|(?<!model loading )\bguard ?rails?\b|\binappropriate content\b|\b(usage|safety) polic(y|ies)\b|\bmoderation\b"
    r"|\bprompt pattern is blocked\b|\bany allowed pattern\b",
    re.IGNORECASE,
)
SMALLER = "Send shorter texts, ask for fewer tokens, or lower 'Max batch size'."
_NO_MODEL = re.compile(
    r"\b(model|adapter)\b.{0,80}\b(not (found|exist|loaded|available)|does ?n.t exist|unknown)|unknown model"
    r"|\binvalid model name\b",
    re.IGNORECASE,
)
_CHANGE = "Change or remove what the service names."
_SHORTER = "Send a shorter prompt, ask for fewer tokens, or serve the model with a longer context."
_HINTS = tuple(
    (re.compile(pattern, re.IGNORECASE), hint)
    for pattern, hint in (
        (
            _USED_UP.pattern,
            "Ask whoever runs the service to raise the budget, or for another key to enter as 'Service API key'.",
        ),
        (
            _FILTERED.pattern,
            "Change the prompt, or ask whoever runs the service to change the filter that refuses it.",
        ),
        (
            r"\bout ?of ?memory|_out_of_memory|\brequires more (system )?memory\b|\binsufficient system resources\b",
            "Lower 'Max parallelism', send shorter texts, or ask whoever runs the service to give it more memory.",
        ),
        (
            r"enable-auto-tool-choice|tool-call-parser|--jinja",
            "Tools are not enabled: ask whoever runs the service to start the server with the options that it names.",
        ),
        (
            _OTHER_KIND.pattern,
            "Give the 'LLM endpoint URL' or 'Model name' of a model for this kind of query, or ask whoever runs the"
            " service to enable it.",
        ),
        (
            _RANGE_OF_A_SETTING.pattern,
            _CHANGE,
        ),
        (
            r"context[ _](length|window|size)|maximum context|too long|exceeds? the (model|maximum)|max_input_length"
            r"|tokens.{0,60}must be <=|reduce the length|prompt is longer|context_length|max_model_len",
            _SHORTER,
        ),
        (
            _RESULT_IS_MISSING.pattern,
            "In the history, a tool call has no result: add the result after it, or remove the call.",
        ),
        (
            r"\b(message|response) prefill\b|\bmust end with a user message\b|\blast message is from the assistant\b"
            r"|\blast turn in the conversation to be a user\b|\bassistant\W{0,2} message in the final position\b",
            "The last message is an assistant's, which the model does not continue: end the query with a user message.",
        ),
        (
            r"\b(conversation|history) must start with a user\b|\bfirst message must use the \W{0,2}user\b",
            "The first message is an assistant's: begin the conversation with a user message.",
        ),
        (
            _ANSWER_IS_MISSING.pattern,
            "In the history, a user message follows the output of a tool: add the assistant's answer between them.",
        ),
        (
            r"\bmessage containing .{1,20} tags in the content\b",  # gpt-oss's template
            "In the history, an answer contains marks of the model's own format: remove them from it.",
        ),
        (
            r"\breasoning_content\b.{0,60}\b(missing|must be passed)",
            "LLM Mesh does not keep a model's reasoning in a history: ask whoever runs the service to turn the model's"
            " thinking off.",
        ),
        (
            r"not support (tools?|functions?)|tools? (are|is) not supported|tool (use|calling) is not"
            r"|unsupported param\w*\W{1,4}tools?\b",
            "Use a model that supports tools, or a query without tools.",
        ),
        (
            r"placeholders? in .{0,20}prompt than",
            "A text of the query contains the model's own placeholder for images: remove it from the text.",
        ),
        (
            r"image item with length|decompression.?bomb|exceeds limit of \d+ pixels"
            r"|\bimages? .{0,40}too (large|big)\b",
            "Send a smaller image.",
        ),
        (
            r"larger than factor|failed to apply \w+processor|aspect ratio must|\bimages? .{0,40}too small\b",
            "Send an image of other dimensions, or put it on a larger background.",
        ),
        (
            r"cannot identify image|image file is truncated|broken data stream|invalid image (type|input|format)\b"
            r"|\b(fail\w*|unable|could not|cannot|can't) (to )?(load|decode|open|read) (the |an? )?image\b(?! from)"
            r"|must be a base64.encoded image|\b(unsupported|unknown) image (format|type)s?\b|\bimage: unknown format"
            r"|\bimage (format|type)s?\b.{0,40}\b(not supported|unsupported)\b|\bloaded image state\b",
            "Send the whole image inline, as PNG or JPEG: the server cannot read it as it is.",
        ),
        (
            r"\bimages? (tokens?|placeholders?)\b.{0,60}\b(match|same)|\btokens? to 0 placeholders\b"
            r"|\b(match|same)\b.{0,60}\bimages? (tokens?|placeholders?)\b",
            "Change the text if it holds the model's own word for an image, such as <image>, or ask whoever runs the"
            " service whether the chat template has a place for images.",
        ),
        (
            r"limit-mm-per-prompt|at most [1-9]\d* (image|video|audio)|too many images"
            r"|(max\w*|limit)( number)? of [1-9]?\d* ?images|images? .{0,40}\bexceed",
            "Send fewer images, or ask whoever runs the service to let it take more in one request.",
        ),
        (
            r"\bimages?\b|image_url|mmproj|multimodal|vision|input modalit"
            r"|can only concatenate str \(not .{0,4}list\b",  # a template that takes each content as a text
            "Use a model that reads images, or a query without images.",
        ),
        (
            r"system (role|message)|roles? must alternate|alternate user|unsupported role|role not supported",
            "The model's chat template takes other roles: put the system message into the first user message, and let"
            " user and assistant take turns.",
        ),
        (
            r"tool[ _]call[ _]ids?\b|length of 9",
            "The model's chat template requires another form of tool call ids.",
        ),
        (
            r"\bbit.?pack",
            "Ask whoever runs the service to start it with float32 as the type of its embeddings: packed bits cannot"
            " be used as a vector.",
        ),
        (
            r"input_type",
            "The model embeds queries and passages in different ways, and the request must say"
            " which of the two the texts are.",
        ),
        (
            r"\b(invalid|incorrect|missing|expired|wrong|bad|no)\b.{0,20}\b(api[ _-]?key|key|credentials?|bearer)"
            r"|authentication|virtual key|api key",
            CHECK_SERVICE_KEY,
        ),
        (
            r"\bno models? (is |are )?loaded|model is unloaded|load a model",
            "Ask whoever runs the service to load its model.",
        ),
        (
            _NO_MODEL.pattern,
            "Correct 'Model name', or leave it empty for the first that the server lists.",
        ),
        (_LENGTHS.pattern, _SHORTER),
        (
            r"field required|missing field|not a valid (list|dict)|json decode|unknown (column|path)"
            r"|one of the input fields",  # MLflow
            CHECK_PROTOCOL,
        ),
        (
            _UNREADABLE.pattern,
            "The server could not read what its own model wrote: ask again, and if it happens often, ask whoever runs"
            " the service to update the server.",
        ),
        (
            r"unsupported|not (supported|permitted|allowed|known)|unrecogni[sz]ed|unexpected\b|unknown|no such option"
            r"|extra inputs|input should be|must be\b|out of range",
            _CHANGE,
        ),
    )
)
_LOADING = re.compile(
    r"\b(model|server|service|engine|weights|cache|worker)s?\b.{0,40}"
    r"\b(is|are|still|currently|being)\b.{0,20}\b(loading|warming|starting|initiali[sz]ing|downloading)\b(?! to\b)"
    r"|\b(model|server|service|engine|weights|cache|worker)s?\b.{0,40}\bbeing\b.{0,20}\bloaded\b"
    r"|\b(model|server|service|engine|weights|worker)s?\b.{0,20}\bnot\b.{0,10}\b(ready|loaded|initiali[sz]ed)\b"
    r"|\bmodel with name .{1,100} not ready\b"  # KServe
    r"|^(still )?(loading|warming( up)?|starting( up)?|downloading|initiali[sz]ing)\b|warming up|\bstarting up\b",
    re.IGNORECASE,
)
# The proxy in front of the model cannot connect to its port: the model is loading or restarting.
_NOBODY_LISTENS = re.compile(r"connect(ion|ing)?\b.{0,40}\brefused\b|econnrefused", re.IGNORECASE)
_BUSY = re.compile(
    r"\b(server|service|model|engine|llm) (is )?(currently |too )?(busy|overloaded)\b|\bservice busy\b"
    r"|\bno (free |available )?slots? (is |are )?(available|free)\b|\bpending requests exceeded\b"
    r"|\brate limit (is |was |has been )?(reached|exceeded|hit)\b"
    r"|\bqueue\b.{0,20}\b(full|exceeded)\b|\bexceeds maximum queue size\b|\btoo many (concurrent |pending )?requests\b",
    re.IGNORECASE,
)
_FAILED = re.compile(r"\bfail|\berror\b|\bcannot\b|\bcould not\b|\bunable\b|no such", re.IGNORECASE)


def hint_for(reason: str) -> str:
    """The hint that suits a server's reason; that the protocol may be wrong only where it gives none.

    Args:
        reason: The server's reason. Only its first 1,000 characters count: some of these expressions look back and
            forth in it.

    Returns:
        The hint: a sentence.
    """
    reason = reason[:1000]
    if not reason:
        return CHECK_PROTOCOL
    return next((hint for pattern, hint in _HINTS if pattern.search(reason)), SEE_LOGS)


def _says(what: re.Pattern[str], reason: str) -> bool:
    """Whether the beginning of a reason says it: what follows may be anything, such as the request."""
    return what.search(reason[:_MOST_OF_A_REASON]) is not None


def says_other_kind(reason: str) -> bool:
    """Whether a server says that it has no embeddings, or no ranking, whatever is to be embedded or ranked."""
    return _says(_OTHER_KIND, reason)


def says_no_model(reason: str) -> bool:
    """Whether a server says that it does not have a model."""
    return _says(_NO_MODEL, reason)


def is_about_length(reason: str) -> bool:
    """Whether a server says that a text is too long, or leaves no room for an answer, in whatever words."""
    return _LENGTHS.search(reason) is not None and not _says(_RANGE_OF_A_SETTING, reason)


def no_other_form_helps(reason: str) -> bool:
    """Whether a server refuses a query in any form: for its length, its history, its prompt, or its price."""
    final = (_RESULT_IS_MISSING, _ANSWER_IS_MISSING, _FILTERED, _USED_UP)
    return is_about_length(reason) or any(_says(what, reason) for what in final)


def says_output_is_unreadable(reason: str) -> bool:
    """Whether a server says that it cannot read what its own model has written."""
    return _says(_UNREADABLE, reason)


def says_used_up(reason: str) -> bool:
    """Whether a server says that a budget is used up, which does not pass within a query's time."""
    return _says(_USED_UP, reason)


def says_too_large(reason: str) -> bool:
    """Whether a server says that one request is larger than its limit of tokens in a time."""
    return _says(_TOO_LARGE, reason)


def says_too_long(reason: str) -> bool:
    """Whether a server says that a prompt is too long, whatever status it says so with."""
    return _says(_PROMPT_IS_TOO_LONG, reason)


def says_provider_failed(reason: str) -> bool:
    """Whether a gateway says that the server behind it gave no answer, whatever status it says so with."""
    return _says(_PROVIDER_FAILED, reason)


def says_filtered(reason: str) -> bool:
    """Whether a server says that a filter of contents refuses the prompt, which no other form of a request changes."""
    return _says(_FILTERED, reason)


def says_busy(reason: str) -> bool:
    """Whether a server says that it has too much to do, whatever status it says so with."""
    return _BUSY.search(reason[:300]) is not None


def says_loading(reason: str, status: int | None = None) -> bool:
    """Whether a server says that it is not ready yet, and will be.

    Args:
        reason: The server's reason.
        status: The HTTP status. With that of a proxy, a connection that is refused is one to the model; with others it
            may be one of the model's own.

    Returns:
        True if it is worth waiting for.
    """
    reason = reason[:300]
    if status in (502, 503) and _NOBODY_LISTENS.search(reason):
        return True
    other = _FAILED.search(reason) or _LENGTHS.search(reason)
    return other is None and _LOADING.search(reason) is not None
