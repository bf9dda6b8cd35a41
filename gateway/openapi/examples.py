"""Bodies to send, by rpc: each is valid by the contract's own rules, which a test checks."""

from gateway.openapi.rules import Json

PARAMETERS: dict[str, str | int] = {
    "version": "latest",
    "alias": "champion",
    "generation_id": "chatcmpl-0f",
    "name": "support-chats",
    "model": "support-bot@champion",
}

_TRAINING: Json = {
    "model_id": 1,
    "dataset_id": 1,
    "lora_rank": 8,
    "learning_rate": 0.0001,
    "epochs": 3,
    "batch_size": 4,
    "seed": 42,
}
_TOOL: Json = {
    "name": "order_status",
    "description": "Where an order is.",
    "parameters": '{"type": "object", "properties": {"order": {"type": "string"}}}',
}
_GENERATE: dict[str, Json] = {
    "prompt": {"model_id": 1, "prompt": "Once upon a time", "max_tokens": 64, "temperature": 0.7},
    "messages": {
        "model_id": 1,
        "version": "champion",
        "messages": [
            {"role": "system", "content": "Answer in one sentence."},
            {"role": "user", "content": "What is LoRA?"},
        ],
        "max_tokens": 128,
        "seed": 7,
    },
    "tools": {
        "model_id": 1,
        "messages": [{"role": "user", "content": "Where is order 7?"}],
        "tools": [_TOOL],
        "tool_choice": "TOOL_CHOICE_AUTO",
    },
    "choice": {
        "model_id": 1,
        "prompt": "Is the sky blue?",
        "choice": {"options": ["yes", "no"]},
    },
}
_CHAT: dict[str, Json] = {
    "whole": {
        "model": "support-bot:champion",
        "messages": [{"role": "user", "content": "What is LoRA?"}],
        "max_tokens": 64,
    },
    "stream": {
        "model": "support-bot",
        "messages": [{"role": "user", "content": "What is LoRA?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    },
}
BODIES: dict[str, dict[str, Json]] = {
    "CreateModel": {
        "model": {
            "name": "support-bot",
            "base_model": "smollm2-135m",
            "description": "Answers customers.",
            "tags": {"team": "support"},
        }
    },
    "UpdateModel": {
        "description": {"description": "Answers customers.", "update_mask": "description"},
        "tags": {"tags": {"team": "support"}},
    },
    "PromoteVersion": {"champion": {"alias": "champion"}},
    "RollbackAlias": {"champion": {"alias": "champion"}},
    "RecordEvaluation": {
        "accuracy": {
            "version": "latest",
            "metric": "accuracy",
            "value": 0.93,
            "dataset_id": 1,
            "split": "EVALUATION_SPLIT_TEST",
            "how": {"harness": "exact match"},
        }
    },
    "SetPromotionGate": {
        "loss": {
            "metric": "loss",
            "direction": "METRIC_DIRECTION_LOWER_IS_BETTER",
            "tolerance": 0.01,
            "dataset_id": 1,
            "split": "EVALUATION_SPLIT_TEST",
            "aliases": ["champion"],
        }
    },
    "ExportVersion": {
        "fused": {"format": "EXPORT_FORMAT_FUSED", "quantize_bits": 8, "tolerance": 0.1},
        "peft": {"format": "EXPORT_FORMAT_PEFT"},
    },
    "CreateDataset": {"file": {"name": "support-chats", "path": "support/chats.jsonl"}},
    "CreateTrainingJob": {
        "recipe": _TRAINING,
        "dora": {**_TRAINING, "method": "TRAINING_METHOD_DORA", "test_fraction": 0.1},
    },
    "ForecastTraining": {"recipe": _TRAINING},
    "ReplayTrainingJob": {"request_id": {"request_id": "replay-2"}},
    "Generate": _GENERATE,
    "StreamGenerate": _GENERATE,
    "LoadModel": {"pin": {"pin": True}, "keep_alive": {"keep_alive_seconds": 3600}},
    "UnloadModel": {"force": {"force": True}},
    "CreateChatCompletion": _CHAT,
    "CreateCompletion": {
        "text": {"model": "support-bot", "prompt": "Once upon a time", "max_tokens": 64}
    },
}
