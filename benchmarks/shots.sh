#!/bin/sh
# Tasks put to a GPT by examples alone: a small GPT learns the next word of reviews and news, and is asked, with 0, 1 and
# 5 examples, what it was never trained for. English: SST-2. Chinese: EPRSTMT (reviews), BUSTM (sentence pairs).
# Every verb goes on where it was interrupted.
#   benchmarks/shots.sh en runs/shots          data: ../shared/data beside the repository
#   benchmarks/shots.sh zh runs/shots
set -e
language=${1:?en or zh} out=${2:-runs/shots}/$1 data=$(realpath "${DATA:-../shared/data}") didact=${DIDACT:-.venv/bin/didact}
mkdir -p "$out/tokenizer" "$out/tasks"
case $language in
en)
    corpora="$data/corpora/en-reviews.txt.xz $data/corpora/en-wikinews.txt.xz"
    [ -e "$out/tokenizer/tokenizer.json" ] ||
        $didact tokenizer $corpora --kind gpt2 --vocab 8192 --cased --out "$out/tokenizer"
    cat >"$out/tasks/sst2.yaml" <<EOF
fewshot: sst2
templates:
  - "Review: {sentence}\nSentiment: {answer}"
  - "{sentence} It was {answer}."
labels: {1: [good, great], 0: [bad, terrible]}
examples: $data/classify/sst2/train.tsv
data: $data/classify/sst2/dev.tsv
balance: label
EOF
    tasks=sst2
    ;;
zh)
    corpora="$data/corpora/zh-articles.txt.xz $data/corpora/zh-short.txt.xz"
    cp "$data/vocabularies/google_zh_vocab.txt" "$out/tokenizer/vocab.txt"
    cat >"$out/tasks/eprstmt.yaml" <<EOF
fewshot: eprstmt
templates:
  - "{sentence}总之很{answer}。"
  - "评论：{sentence}评价：{answer}"
labels: {Positive: [好, 满意], Negative: [差, 失望]}
examples: $data/fewshot/zh-eprstmt/train_few_all.json
data: $data/fewshot/zh-eprstmt/test_public.json
balance: label
EOF
    cat >"$out/tasks/bustm.yaml" <<EOF
fewshot: bustm
templates:
  - "{sentence1}？{sentence2}？两句话的意思{answer}。"
  - "{sentence1}，{answer}，{sentence2}"
labels: {1: [相同, 是的], 0: [不同, 不是]}
examples: $data/fewshot/zh-bustm/train_few_all.json
data: $data/fewshot/zh-bustm/test_public.json
balance: label
EOF
    tasks="eprstmt bustm"
    ;;
*) echo "shots.sh: $language; expected en or zh" >&2; exit 2 ;;
esac
[ -e "$out/store/store.json" ] || $didact prepare $corpora --tokenizer "$out/tokenizer" --out "$out/store" --validation 0.01
$didact pretrain recipes/gpt2.yaml run="$out/gpt" data.train="$out/store" data.length=256 data.workers=0 \
    model='{family: gpt2, layers: 6, width: 256, heads: 4, feedforward: 1024, position: {maximum: 256}, dropout: 0.0}' \
    batch='{size: 32 sequences, micro_tokens: 8192}' budget.tokens="${TOKENS:-15_000_000}" \
    optimizer.learning_rate=2.0e-3 schedule.warmup=0.05 validation='{every: 400, sequences: 200}' \
    checkpoints='{every: 400, keep: 1}'
for task in $tasks; do
    $didact fewshot "$out/gpt" "$out/tasks/$task.yaml" --shots 0,1,5 --seeds 0,1,2 --out "$out/$task"
done
