"""Writes test/fixtures/tiny-llama-greedy.json: what transformers answers, greedily and in float32, from ../model."""

import hashlib
import json
from pathlib import Path

import torch
import transformers
from transformers import AutoTokenizer, LlamaForCausalLM

HERE = Path(__file__).resolve().parent
MODEL = HERE.parent / "model"
FIXTURE = HERE.parents[2] / "test" / "fixtures" / "tiny-llama-greedy.json"
MAX_NEW_TOKENS = 64

TRAINED = [
    "What is KVBM?",
    "What is a block of the KV cache?",
    "What is NIXL?",
    "Explain the KV router.",
    "define ttft",
    "What does xPyD mean?",
    "Tell me about disaggregated serving.",
    "What is the KVIndexer?",
    "what is prefix caching",
    "dynamo serve",
    "Who are you?",
    "What is the capital of France?",
]
UNTRAINED = [
    "Could you define KVBM?",
    "Please tell me what RDMA is.",
    "How do the planner and the KV router work together?",
    "Is vLLM faster than SGLang?",
    "List three kinds of memory.",
    "KVBM or NIXL, which one moves data?",
    "Der Router verteilt Anfragen. Was heißt das?",
    "👋 ¿Qué es Dynamo?",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z",
    "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20",
]


def conversations():
    """(name, messages) of every case."""
    answers = {e["term"]: e["answer"] for e in json.loads((HERE / "questions.json").read_text())["entries"]}
    glossary = " ".join(answers.values())

    def user(text):
        return {"role": "user", "content": text}

    def system(text):
        return {"role": "system", "content": text}

    def assistant(text):
        return {"role": "assistant", "content": text}

    for question in TRAINED:
        yield f"trained: {question}", [user(question)]
    for question in UNTRAINED:
        yield f"untrained: {question}", [user(question)]
    yield "system message", [system("You are a helpful assistant."), user("What is KVBM?")]
    yield "unknown system message", [system("Talk like a pirate."), user("What is a graph?")]
    yield "two turns", [user("What is NIXL?"), assistant(answers["NIXL"]), user("What is RDMA?")]
    yield "long system message", [system(glossary), user("What is KVBM?")]
    yield "longer system message", [system(f"{glossary} {glossary}"), user("What is a worker?")]
    yield "long question", [user(glossary)]
    turns = []
    for term, answer in answers.items():
        turns += [user(f"What is {term}?"), assistant(answer)]
    yield "many turns", [*turns, user("What is the planner?")]


def rounded(values):
    return [round(float(value), 6) for value in values]


@torch.no_grad()
def greedy(model, prompt_ids):
    """Token ids, the gap between the two best logits and the log probability of the best one, a step each."""
    out = model.generate(
        torch.tensor([prompt_ids]),
        attention_mask=torch.ones(1, len(prompt_ids), dtype=torch.long),
        do_sample=False,
        max_new_tokens=MAX_NEW_TOKENS,
        return_dict_in_generate=True,
        output_logits=True,
    )
    logits = torch.cat(out.logits).float()
    best = logits.topk(2).values
    token_ids = out.sequences[0, len(prompt_ids) :].tolist()
    if token_ids != logits.argmax(-1).tolist():
        raise SystemExit("generate() did not take the best token at every step")
    return token_ids, rounded(best[:, 0] - best[:, 1]), rounded(torch.log_softmax(logits, -1).max(-1).values)


def main():
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = LlamaForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    cases = []
    for name, messages in conversations():
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        prompt_ids = tokenizer.encode(prompt, add_special_tokens=False)
        token_ids, gaps, logprobs = greedy(model, prompt_ids)
        text = tokenizer.decode(token_ids, skip_special_tokens=True)
        print(f"{len(prompt_ids):5} + {len(token_ids):2}  {name}: {text}")
        cases.append(
            {
                "name": name,
                "text": text,
                "promptTokenIds": prompt_ids,
                "tokenIds": token_ids,
                "gaps": gaps,
                "logprobs": logprobs,
            }
        )
    fixture = {
        "source": f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, float32",
        "checkpointSha256": hashlib.sha256((MODEL / "model.safetensors").read_bytes()).hexdigest(),
        "cases": cases,
    }
    lines = json.dumps(fixture, ensure_ascii=False, separators=(",", ":")).replace('{"name"', '\n{"name"')
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    FIXTURE.write_text(lines + "\n")


if __name__ == "__main__":
    main()
