#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tour.sh [PLATFORM]: what the running example does, live and measured: who is sent where and gets the page there, how
# answers move when a region dies and come back when it lives, how fast a crashed module is ready again.
# Ends with status 1 when something is not as it must be.
set -euo pipefail
cd "$(dirname "$0")/.."
mcp=${MCP_BINARY:-build/mcp}
platform=${1:-reindeers}
domain=reindeers.com
servers=(203.0.113.20 203.0.113.40 203.0.113.60 203.0.113.80)
wrong=0

[ -f "/run/mcp-lab/$platform/lab.json" ] || { echo "tour: $platform does not run; 'make demo' starts it" >&2; exit 1; }

inside() { "$mcp" lab exec --platform "$platform" "$@"; }
now_ms() { date +%s%3N; }
# ask SERVER [DIG-OPTION...]: the address answered, or nothing
ask() { inside client -- dig +short +time=1 +tries=1 "@$1" "$domain" A "${@:2}" 2>/dev/null || true; }
# check WHAT GOT WANTED
check() {
  if [ "$2" = "$3" ]; then return 0; fi
  echo "      WRONG: $1 is '$2', must be '$3'"
  wrong=1
}
# until_is WANTED SECONDS SERVER [DIG-OPTION...]: waits for that answer
until_is() {
  local wanted=$1 end=$(($(now_ms) + $2 * 1000))
  shift 2
  while [ "$(ask "$@")" != "$wanted" ]; do
    [ "$(now_ms)" -lt $end ] || return 1
    sleep 0.1
  done
}

ttl() { inside client -- dig +noall +answer "@${servers[0]}" "$domain" A | awk '{print $2; exit}'; }
end=$(($(now_ms) + 60000)) # answers live shorter while regions come or go
while [ "$(ttl)" != 60 ] && [ "$(now_ms)" -lt $end ]; do sleep 0.2; done

echo "1. Who is sent where ($domain, TTL $(ttl) s)"
check "the TTL" "$(ttl)" 60
printf '      %-8s %-24s %-15s %s\n' COUNTRY 'ASKED BY' ANSWER 'PAGE FROM THERE'
# A subnet of each country that the public database knows, as a resolver tells it (EDNS client subnet).
while read -r country subnet wanted; do
  answer=$(ask "${servers[0]}" "+subnet=$subnet")
  printf '      %-8s %-24s %-15s\n' "$country" "subnet $subnet" "$answer"
  check "$country by subnet" "$answer" "$wanted"
done <<END
KR 168.126.63.0/24 203.0.113.40
JP 133.11.0.0/24 203.0.113.40
TH 203.113.0.0/24 203.0.113.20
MY 202.188.0.0/24 203.0.113.20
SG 165.21.0.0/24 203.0.113.20
CN 202.96.128.0/24 203.0.113.60
US 8.8.8.0/24 203.0.113.20
END
# The invented buyers, by nothing but the address they ask from.
while read -r country buyer wanted; do
  answer=$(ask "${servers[0]}" -b "$buyer")
  page=$(inside client -- curl -s -o /dev/null -m 10 -w '%{http_code} in %{time_total} s' --interface "$buyer" \
    --resolve "$domain:443:$answer" "https://$domain/" || true)
  printf '      %-8s %-24s %-15s %s\n' "$country" "buyer at $buyer" "$answer" "$page"
  check "$country by address" "$answer" "$wanted"
  check "the page for $country" "${page%% *}" 200
done <<END
KR 198.51.100.1 203.0.113.40
TH 198.51.100.17 203.0.113.20
CN 198.51.100.33 203.0.113.60
US 198.51.100.49 203.0.113.20
END
for server in "${servers[@]}"; do
  check "KR asked at $server" "$(ask "$server" -b 198.51.100.1)" 203.0.113.40
done
echo "      the same from the server of every region: ${servers[*]}"

echo
echo "2. A region dies: mcp lab kill ap-seoul"
start=$(now_ms)
"$mcp" lab kill --platform "$platform" ap-seoul | sed 's/^/      /'
if until_is 203.0.113.20 30 "${servers[0]}" -b 198.51.100.1; then
  echo "      Korean answers moved to 203.0.113.20 after $(($(now_ms) - start)) ms (promised: 12,500)"
else
  check "the Korean answer" "$(ask "${servers[0]}" -b 198.51.100.1)" 203.0.113.20
fi
start=$(now_ms)
"$mcp" lab heal --platform "$platform" ap-seoul | sed 's/^/      /'
if until_is 203.0.113.40 90 "${servers[0]}" -b 198.51.100.1; then
  echo "      and back to 203.0.113.40 $(($(now_ms) - start)) ms after mcp lab heal"
else
  check "the Korean answer" "$(ask "${servers[0]}" -b 198.51.100.1)" 203.0.113.40
fi

echo
echo "3. A module crashes: kill -9 of api-1 on hk1"
# unit_field FIELD: of api-1 on hk1
unit_field() {
  "$mcp" status --platform "$platform" --json | /usr/bin/python3 -c '
import json, sys
for u in json.load(sys.stdin)["units"]:
    if (u["name"], u["host"]) == ("api-1", "hk1"):
        print(u[sys.argv[1]])' "$1"
}
pid=$(unit_field pid)
start=$(now_ms)
kill -9 "$pid"
end=$((start + 30000))
while [ "$(unit_field pid)" = "$pid" ] || [ "$(unit_field state)" != ready ]; do
  [ "$(now_ms)" -lt $end ] || break
done
echo "      was pid $pid, ready again as pid $(unit_field pid) after $(($(now_ms) - start)) ms"
check "api-1" "$(unit_field state)" ready

echo
[ $wrong = 0 ] && echo "All as it must be." || echo "Something is not as it must be: see WRONG above."
exit $wrong
