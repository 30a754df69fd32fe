#!/bin/sh
# Chinese from end to end, by verbs alone: tokens of Google's vocabulary -> store -> a small BERT -> sentiment and
# question answering, each beside the same model from scratch. Every verb goes on where it was interrupted.
#   benchmarks/chinese.sh runs/chinese          data: ../shared/data beside the repository
set -e
out=${1:-runs/chinese} data=${DATA:-../shared/data} didact=${DIDACT:-.venv/bin/didact}
mkdir -p "$out/tokenizer" "$out/data"
cp "$data/vocabularies/google_zh_vocab.txt" "$out/tokenizer/vocab.txt"
for part in train dev test; do cp "$data/classify/zh-book-review/$part.tsv" "$out/data/"; done

[ -e "$out/store/store.json" ] || $didact prepare "$data/corpora/zh-articles.txt.xz" "$data/corpora/zh-short.txt.xz" \
    --tokenizer "$out/tokenizer" --out "$out/store" --validation 0.01
$didact pretrain recipes/bert-mini.yaml run="$out/pretrain" data.train="$out/store" \
    objective.masked.rate=0.4 model.vocabulary_bias=frequencies model.position='{maximum: 128, start: neighbours}' \
    batch.size="32 sequences" budget.tokens=6_000_000 optimizer.learning_rate=2.0e-3 validation.rates='[0.15]'
for scratch in false true; do
    $didact finetune recipes/classify.yaml run="$out/book-review-scratch-$scratch" start="$out/pretrain" scratch=$scratch \
        task.classify.columns='{text: text_a, label: label}' data.train="$out/data/train.tsv" \
        data.dev="$out/data/dev.tsv" data.test="$out/data/test.tsv" budget.epochs=1 seeds='[0]' \
        optimizer.learning_rate=5.0e-4
    $didact finetune recipes/answer.yaml run="$out/drcd-scratch-$scratch" start="$out/pretrain" scratch=$scratch \
        task.answer='{stride: 64, question: 40, length: 128}' length=128 data.train="$data/qa/zh-drcd/DRCD_dev.json" \
        data.dev=null data.test="$data/qa/zh-drcd/DRCD_test.json" budget.epochs=2 seeds='[0]' \
        optimizer.learning_rate=5.0e-4
done
