#!/usr/bin/env bash
# Dynamo 1.6.1 (ai-dynamo 1.6.1): two workers of one model whose folders are equal copies.
#
# The checksum of a model card covers the path of the model's folder. The frontend refuses the second card of a model if
# its checksum differs, so that a worker whose folder is an equal copy elsewhere never gets a request. Machines that keep
# their models in different folders are the usual case.
#
# Expected: equal contents are equal, so that both workers get requests.
# Seen: 40 requests reach 2 workers that share a folder, and 1 worker if the folders are copies.
# Exits with 0 while this holds, and with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
started=()
stop() {
  for pid in "${started[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
  started=()
}
trap 'stop; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
python="$folder/venv/bin/python"
# What the package needs for engines on a GPU is left out.
"$python" -m pip install --quiet --disable-pip-version-check --no-deps ai-dynamo==1.6.1
"$python" -m pip install --quiet --disable-pip-version-check ai-dynamo-runtime==1.6.1 uvloop==0.23.0 pydantic==2.12.5 \
  transformers==5.23.0 tokenizers==0.23.3 aiohttp==3.14.5 msgspec==0.22.0 pyzmq==27.3.0 numpy==2.4.6 zstandard==0.25.0 \
  prometheus_client==0.26.0 PyYAML==6.0.3

cat > "$folder/model.py" <<'PY'
import json, pathlib, sys
from tokenizers import Tokenizer, models, pre_tokenizers

folder = pathlib.Path(sys.argv[1])
folder.mkdir()
tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1, **{f"w{i}": i + 2 for i in range(30)}}, unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer.save(str(folder / "tokenizer.json"))
config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "eos_token_id": 1, "vocab_size": 32,
          "max_position_embeddings": 512, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
(folder / "config.json").write_text(json.dumps(config))
(folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 1}))
template = "{% for m in messages %}{{ m.content }}{% endfor %}"
(folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", "chat_template": template}))
PY

cat > "$folder/ask.py" <<'PY'
import json, sys, time, urllib.error, urllib.request

url, deadline, workers, answers = f"http://127.0.0.1:{sys.argv[1]}/v1/completions", time.monotonic() + 120, set(), 0
body = {"model": "copies", "prompt": "w1 w2 w3", "max_tokens": 2, "nvext": {"extra_fields": ["worker_id"]}}
while answers < 40 and time.monotonic() < deadline:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read().decode()
    except (urllib.error.URLError, OSError):
        time.sleep(0.5)
        continue
    # Ten seconds after the first answer the frontend knows every worker.
    if answers == 0:
        time.sleep(10)
    answers += 1
    workers.add(json.dumps(json.loads(text)["nvext"]["worker_id"], sort_keys=True))
print(answers, len(workers))
PY

export DYN_LOG=off DYN_TCP_RPC_HOST=127.0.0.1 PYTHONUNBUFFERED=1
common=(--discovery-backend file --request-plane tcp --event-plane zmq)
port=$((20000 + RANDOM % 10000))

# count NAME FOLDER FOLDER: the answers, and the workers that gave them.
count() {
  export DYN_FILE_KV="$folder/discovery-$1"
  for model in "$2" "$3"; do
    "$python" -m dynamo.mocker --model-path "$model" --model-name copies --speedup-ratio 100 "${common[@]}" \
      > "$folder/$1-worker.log" 2>&1 &
    started+=($!)
  done
  port=$((port + 1))
  "$python" -m dynamo.frontend --http-host 127.0.0.1 --http-port "$port" "${common[@]}" > "$folder/$1-frontend.log" 2>&1 &
  started+=($!)
  "$python" "$folder/ask.py" "$port"
  stop
}

"$python" "$folder/model.py" "$folder/model"
cp -r "$folder/model" "$folder/copy"
"$python" -m pip list 2>/dev/null | grep ai-dynamo
shared=$(count shared "$folder/model" "$folder/model")
copies=$(count copies "$folder/model" "$folder/copy")
echo "one folder: $shared (answers, workers)"
echo "equal copies: $copies (answers, workers)"
[ "$shared" = "40 2" ] && [ "$copies" = "40 1" ] || { echo 'changed'; tail -n 5 "$folder"/*.log; exit 1; }
