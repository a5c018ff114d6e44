"""Words that may be shown although a user's text has them, too."""

from __future__ import annotations

# Names of fields, roles, types and values of the APIs that the plugin speaks (OpenAI, and what vLLM, TGI, llama.cpp,
# Ollama, NIM, Text Embeddings Inference and Snowflake's model serving add). An error that names one must be readable.
API_NAMES = frozenset(
    """
    add_generation_prompt add_special_tokens additionalProperties allOf allowed_tokens annotations anyOf arguments
    array assistant audio auto base64 batch_size best_of body bool boolean bytes cache_prompt chat_template
    chat_template_kwargs choice choices completion completion_tokens completions const content context_length
    continue_final_message created data dataframe_records dataframe_split default delta description detail developer
    dimensions documents echo embedding embeddings encoding_format enum error exclusiveMaximum exclusiveMinimum
    extra_body file finish_reason float format frequency_penalty function function_call functions grammar
    guided_choice guided_grammar guided_json guided_regex id ignore_eos image image_url include_stop_str_in_output
    index input input_type inputs instances int integer items json json_object json_schema json_value keep_alive
    lang length length_penalty loc logit_bias logprob logprobs max_completion_tokens max_input_length max_length
    max_model_len max_new_tokens max_output_tokens max_tokens maximum maxItems maxLength maxProperties message
    messages metadata method min_p min_tokens minimum minItems minLength minProperties mirostat modalities model
    model_name models msg multimodal multipleOf n name names normalize not null num_ctx num_predict number object
    oneOf options outputs parallel_tool_calls parameters params parts passage pattern patternProperties
    penalty_alpha predict prefix prefixItems presence_penalty priority prompt prompt_logprobs prompt_tokens
    properties propertyNames quantization query raw raw_scores reasoning reasoning_content reasoning_effort refusal
    regex repeat_penalty repetition_penalty required rerank response_format return_documents return_text role
    safe_serialization schema score seed service_tier skip_special_tokens split stop stop_sequences stop_token_ids
    store stream stream_options strict string structured_outputs suffix system temperature text texts thinking
    timeout title tokens tool tool_call tool_call_id tool_calls tool_choice tools top_k top_logprobs top_n top_p
    total_tokens transforms truncate truncate_prompt_tokens truncation truncation_direction type typical_p
    unevaluatedItems unevaluatedProperties uniqueItems unit_format url usage use_beam_search user user_id value
    video watermark with_metadata
    true false none auto any object null
    """.split()  # noqa: SIM905
)

# What errors of servers are made of. A stretch of one or two of them tells nothing of a user's text.
COMMON_WORDS = frozenset(
    """
    a about above abort aborted accept accepted accepts access according after allowed already also although an and any
    application are argument arguments array as at attribute available bad be because been before being below
    beyond but by calls can cannot causes chat check code configuration configured connection contain contained
    contains context conversation could count data decode default denied described description detail details
    different did disabled do does doesn document documents don during each either empty enabled encountered
    end engine entity environment error errors exceed exceeded exceeding exceeds exception expected expecting
    expects failed failure features field fields file following for format found from function generate generated
    generation get given greater had handle has have headers how however if image images implemented implementation
    in inference information input inputs instead integer internal into invalid is issue it item items its key keys
    language large least length less limit limited limits line list loaded loading longer malformed many max maximum
    may message messages method minimum missing model models more most must name names needed negative never next
    no non none not nothing number object occurred of off on only operation option options or other output outputs
    over parameter parameters parse parser parsing part parts permitted please position positive possible prediction
    present problem process processing prompt properties property provide provided provider query range rate read
    reason received reduce refused request requested requests require required requires resource response result
    results return returned role roles schema server service services set setting settings should shorter single
    size some something specified specify start state status strictly string structured such supplied support
    supported supports system template text texts than that the them then there these this time timed to token tokens
    too tool tools try type types unable unauthorized unavailable under unexpected unknown unprocessable unrecognized
    unsupported until up upstream use used user using valid validation value values was we were what when which
    while will with within without would wrong you your
    """.split()  # noqa: SIM905
)
