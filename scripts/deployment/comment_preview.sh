#!/usr/bin/env bash
# Puts a preview into the pull request: one comment a stack, edited at the next push. Needs GitHub's `gh` and GH_TOKEN,
# GITHUB_REPOSITORY and PULL_REQUEST (a number).
#   scripts/deployment/comment_preview.sh STACK OUTCOME FILE        OUTCOME: success or failure
set -euo pipefail
stack=$1 outcome=$2 file=$3
most=60000 # bytes; a comment holds 65,536 characters
COMMENTS_AS=${COMMENTS_AS:-github-actions[bot]} # whom GH_TOKEN writes as; another app's is APP[bot]
mark="<!-- pgstack preview $stack -->"
case $outcome in success) word=✓ ;; *) word="✗ the preview failed" ;; esac

cut=""
if [ "$(wc -c <"$file")" -gt "$most" ]; then cut="… the beginning is in the job's log"; fi
fence='````' # longer than any that the preview prints: what it quotes of a branch can't end the block
while grep -qF "$fence" "$file"; do fence+='`'; done
body=$(
    printf '%s\n### preview of `%s` %s\n\n<details open><summary>what `up` would do</summary>\n\n%s\n' \
        "$mark" "$stack" "$word" "$fence"
    if [ -n "$cut" ]; then printf '%s\n' "$cut"; fi
    tail -c "$most" "$file" | iconv -f utf-8 -t utf-8 -c
    printf '\n%s\n\n</details>\n' "$fence"
)

comments="repos/$GITHUB_REPOSITORY/issues/$PULL_REQUEST/comments"
# anybody may write a comment that begins with the mark, and could change it afterwards: only the bot's own is edited
mine=".user.login == \"$COMMENTS_AS\" and .user.type == \"Bot\""
old=$(gh api --paginate "$comments" --jq ".[] | select($mine and (.body | startswith(\"$mark\"))) | .id" | head -n 1)
if [ -n "$old" ]; then
    gh api --silent --method PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$old" --raw-field body="$body"
else
    gh api --silent "$comments" --raw-field body="$body"
fi
