"""Makes the checkpoint in ../model: a byte-level BPE tokenizer and a Llama trained on questions.json.

    python -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python train.py
"""

import argparse
import json
import random
import re
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).resolve().parent
MODEL = HERE.parent / "model"
GLOSSARY = HERE.parents[2] / "docs" / "glossary.md"

SPECIAL_TOKENS = ["<|pad|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"]
PAD, BEGIN, END = 0, 1, 2
VOCABULARY = 1024
MAX_POSITIONS = 4096
MAX_ANSWER_TOKENS = 60

CHAT_TEMPLATE = (
    "{{- bos_token -}}"
    "{%- for message in messages -%}"
    "{{- '<|' + message['role'] + '|>' + (message['content'] | trim) + '<|end|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": BEGIN,
    "eos_token_id": END,
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 128,
    "initializer_range": 0.04,
    "intermediate_size": 384,
    "max_position_embeddings": MAX_POSITIONS,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "num_key_value_heads": 2,
    "pad_token_id": PAD,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": VOCABULARY,
}


def write_json(name, value):
    (MODEL / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def load_questions():
    """The entries of questions.json, each with `asked` (trained) and `heldOut` (never trained) questions."""
    document = json.loads((HERE / "questions.json").read_text())
    answers = {}
    for entry in document["entries"]:
        asked = [p.replace("{x}", name) for p in document["phrasings"] for name in entry["names"]]
        bare = [re.sub(r"^(a|an|the) ", "", name) for name in entry["names"]]
        asked += [p.replace("{x}", name) for p in ("What is {x}?", "Define {x}.", "{x}") for name in bare]
        for question in entry["questions"]:
            asked += [question, question.rstrip("?.!"), question.lower()]
        entry["asked"] = list(dict.fromkeys(asked))
        entry["heldOut"] = [p.replace("{x}", name) for p in document["heldOutPhrasings"] for name in entry["names"]]
        for question in entry["asked"]:
            other = answers.setdefault(question.lower(), entry["answer"])
            if other != entry["answer"]:
                raise SystemExit(f"questions.json: {question!r} has two answers: {other!r} and {entry['answer']!r}")
    return document


def train_tokenizer(document):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    texts = [GLOSSARY.read_text()] + document["systems"] * 2
    for entry in document["entries"]:
        texts += [entry["answer"]] * 4 + entry["asked"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise SystemExit(f"the tokenizer has {tokenizer.get_vocab_size()} tokens, expected {VOCABULARY}")
    tokenizer.save(str(MODEL / "tokenizer.json"))
    special = {"bos_token": "<|begin|>", "eos_token": "<|end|>", "pad_token": "<|pad|>"}
    write_json("special_tokens_map.json", special)
    write_json(
        "tokenizer_config.json",
        {
            "added_tokens_decoder": {
                str(i): {
                    "content": token,
                    "lstrip": False,
                    "normalized": False,
                    "rstrip": False,
                    "single_word": False,
                    "special": True,
                }
                for i, token in enumerate(SPECIAL_TOKENS)
            },
            **special,
            "chat_template": CHAT_TEMPLATE,
            "clean_up_tokenization_spaces": False,
            "model_max_length": MAX_POSITIONS,
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    )


def write_configs():
    write_json("config.json", CONFIG)
    write_json(
        "generation_config.json",
        {"bos_token_id": BEGIN, "do_sample": False, "eos_token_id": END, "pad_token_id": PAD},
    )


def encode(tokenizer, messages, answer):
    """Token ids of a conversation and labels that count only the last answer and its end of turn."""
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    prompt_ids = tokenizer.encode(prompt, add_special_tokens=False)
    answer_ids = tokenizer.encode(answer, add_special_tokens=False) + [END]
    return prompt_ids + answer_ids, [-100] * len(prompt_ids) + answer_ids


def shuffled_for_ever(items, rng):
    while True:
        rng.shuffle(items)
        yield from items


def conversation(document, rng, entry, question, long=False):
    """Messages that end in the question, perhaps after a system message and earlier turns; many of those if `long`."""
    if rng.random() < 0.1:
        question = question.lower()
    messages = []
    turns = rng.choice([0, 0, 0, 0, 0, 0, 1, 2])
    if long and rng.random() < 0.4:
        turns = rng.randint(4, 40)
    elif long:
        answers = [e["answer"] for e in document["entries"]]
        messages.append({"role": "system", "content": " ".join(rng.choices(answers, k=rng.randint(4, 44)))})
    elif rng.random() < 0.3:
        messages.append({"role": "system", "content": rng.choice(document["systems"])})
    for _ in range(turns):
        earlier = rng.choice(document["entries"])
        messages.append({"role": "user", "content": rng.choice(earlier["asked"])})
        messages.append({"role": "assistant", "content": earlier["answer"]})
    messages.append({"role": "user", "content": question})
    return messages, entry["answer"]


def batches(tokenizer, document, rng, batch, long):
    """Endless batches of conversations of about one length each, so that little is padding."""
    pairs = shuffled_for_ever([(entry, question) for entry in document["entries"] for question in entry["asked"]], rng)
    while True:
        drawn = [encode(tokenizer, *conversation(document, rng, *next(pairs), long)) for _ in range(batch * 8)]
        drawn.sort(key=lambda sample: len(sample[0]))
        groups = [drawn[start : start + batch] for start in range(0, len(drawn), batch)]
        rng.shuffle(groups)
        yield from groups


def collate(samples):
    width = max(len(ids) for ids, _ in samples)
    ids = torch.tensor([ids + [PAD] * (width - len(ids)) for ids, _ in samples])
    labels = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in samples])
    return ids, labels


def answer_loss(model, ids, labels):
    logits = model(input_ids=ids).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)


@torch.no_grad()
def wrong_answers(model, samples):
    """How many samples' answers greedy decoding would not give, token by token."""
    wrong = 0
    for start in range(0, len(samples), 64):
        ids, labels = collate(samples[start : start + 64])
        best = model(input_ids=ids).logits[:, :-1].argmax(-1)
        wanted = labels[:, 1:]
        wrong += int(((best != wanted) & (wanted != -100)).any(1).sum())
    return wrong


def train(model, tokenizer, document, rng, steps, batch):
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
        lr=3e-3,
        betas=(0.9, 0.95),
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.08)
    short_batches = batches(tokenizer, document, rng, batch, long=False)
    long_batches = batches(tokenizer, document, rng, batch // 8, long=True)
    started, tokens, recent = time.time(), 0, []
    for step in range(1, steps + 1):
        long = step > steps // 3 and step % 8 == 0
        ids, labels = collate(next(long_batches if long else short_batches))
        loss = answer_loss(model, ids, labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        tokens += ids.numel()
        recent.append(loss.item())
        if step % 50 == 0 or step == steps:
            mean = sum(recent) / len(recent)
            print(f"step {step} loss {mean:.4f} tokens {tokens} seconds {time.time() - started:.0f}", flush=True)
            recent = []


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    rng = random.Random(options.seed)
    MODEL.mkdir(exist_ok=True)
    document = load_questions()
    train_tokenizer(document)
    write_configs()
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    for entry in document["entries"]:
        length = len(tokenizer.encode(entry["answer"], add_special_tokens=False)) + 1
        if length >= MAX_ANSWER_TOKENS:
            raise SystemExit(f"{entry['term']}: the answer has {length} tokens, expected under {MAX_ANSWER_TOKENS}")

    model = LlamaForCausalLM(LlamaConfig.from_pretrained(MODEL)).float()
    parameters = sum(p.numel() for p in model.parameters())
    print(f"parameters {parameters}, questions {sum(len(e['asked']) for e in document['entries'])}", flush=True)
    train(model, tokenizer, document, rng, options.steps, options.batch)

    weights = {
        name: tensor.to(torch.bfloat16).contiguous()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"
    }
    save_file(weights, MODEL / "model.safetensors", metadata={"format": "pt"})
    (MODEL / "model.safetensors").chmod(0o644)

    stored = LlamaForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()

    def samples(kind, system=None):
        head = [{"role": "system", "content": system}] if system else []
        return [
            encode(tokenizer, head + [{"role": "user", "content": question}], entry["answer"])
            for entry in document["entries"]
            for question in entry[kind]
        ]

    long = [
        encode(tokenizer, *conversation(document, rng, entry, rng.choice(entry["asked"]), True))
        for entry in document["entries"]
        for _ in range(4)
    ]
    wrong = {}
    for name, checked in [
        ("trained questions", samples("asked")),
        ("trained questions after a system message", samples("asked", document["systems"][0])),
        ("long conversations", long),
        ("held-out phrasings", samples("heldOut")),
    ]:
        wrong[name] = wrong_answers(stored, checked)
        print(f"{name}: {len(checked) - wrong[name]} of {len(checked)} answered word for word", flush=True)
    if wrong["trained questions"] > 0:
        raise SystemExit("the stored model does not answer every trained question")


if __name__ == "__main__":
    main()
