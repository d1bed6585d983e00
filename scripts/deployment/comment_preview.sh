#!/usr/bin/env bash
# Puts a preview into the pull request: one comment a stack, edited at the next push. Needs GitHub's `gh` and GH_TOKEN,
# GITHUB_REPOSITORY and PULL_REQUEST (a number).
#   scripts/deployment/comment_preview.sh STACK OUTCOME FILE        OUTCOME: success or failure
set -euo pipefail
stack=$1 outcome=$2 file=$3
most=60000 # bytes; a comment holds 65,536 characters
mark="<!-- pgstack preview $stack -->"
case $outcome in success) word=✓ ;; *) word="✗ the preview failed" ;; esac

cut=""
if [ "$(wc -c <"$file")" -gt "$most" ]; then cut="… the beginning is in the job's log"; fi
# four backticks: what the preview prints may hold three
body=$(
    printf '%s\n### preview of `%s` %s\n\n<details open><summary>what `up` would do</summary>\n\n````\n' \
        "$mark" "$stack" "$word"
    if [ -n "$cut" ]; then printf '%s\n' "$cut"; fi
    tail -c "$most" "$file" | iconv -f utf-8 -t utf-8 -c
    printf '\n````\n\n</details>\n'
)

comments="repos/$GITHUB_REPOSITORY/issues/$PULL_REQUEST/comments"
old=$(gh api --paginate "$comments" --jq ".[] | select(.body | startswith(\"$mark\")) | .id" | head -n 1)
if [ -n "$old" ]; then
    gh api --silent --method PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$old" --raw-field body="$body"
else
    gh api --silent "$comments" --raw-field body="$body"
fi
