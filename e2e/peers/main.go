// Keylend-peers is what stands on either side of Keylend in its tests: the applications that call, the origins that
// are called, and the scanners that show where a credential is not. It is one static binary with applets, the first
// argument says which. It uses Go's net/http and crypto/tls, which are not ours, and holds no part of Keylend.
//
// Long-running applets print one JSON line once they listen (so port 0 works), end on SIGTERM, and with
// --ends-with-stdin also when standard input ends. Times are unix nanoseconds. Control listeners take strict JSON.
//
// # upstream: a real HTTPS origin
//
//	upstream [--listen :443]... [--plain-listen ADDR]... [--control :8081]
//	         (--cert FILE --key FILE | --self-signed-ca-dir DIR [--name NAME]... [--validity valid|expired|not-yet-valid])
//	         [--tls-min 1.2] [--tls-max 1.3] [--no-http2] [--idle 5m] [--expect-sha256 HEX] [--ends-with-stdin]
//	prints {"listening":[...],"plain":[...],"control":"...","ca":"PEM"}
//
// Control: GET /hits[?since=NUMBER&trace=TEXT&path=PREFIX&connection=ID], DELETE /hits (connections too),
// GET /count[?at_least=N&wait_ms=M], GET /connections (every accepted one, with or without a request),
// POST /expect {"authorization":VALUE | "sha256":HEX, "header":NAME}, GET /ca.pem, GET /healthz.
// VALUE is the whole header value, "Bearer " included. A hit is recorded when its head has arrived, and completed
// when its answer is done.
//
// Paths (all others: 404):
//
//	/ok  /v1/...           {"ok":true,"authorized":...}; a payment service: 200 for the expected credential, else 401
//	/echo                  the request headers in headers, trailers, JSON body
//	/echo-encoded          the credential in every spelling: ?enc=NAMES&in=headers,body,trailers,reason&length=known
//	                       &by=hand&split=N&at=K&pause=1ms&header=NAME&whole=1
//	/stream                events: ?every=50ms&for=10s&echo=1        /duplex   echoes the body as it comes
//	/upload                length and digest of the body             /bytes    ?n=1024&chunked=1
//	/slow                  ?ms=1000&head=1                           /hang     never answers
//	/early                 answers before the body: ?code=413&read=1 /close    closes after the answer
//	/cut                   ?n=1000&after=100&chunked=1               /switch   101, then echoes bytes
//	/status/NNN            /redirect?to=URL&code=302                 /cookies?n=3
//	/encoding/NAME         gzip, deflate, double, lie, any other claimed only; the body holds the credential
//	/alt-svc               /headers?n=10&size=10                     /trailers   /hints (103)
//
// # raw-upstream: a scripted TLS origin
//
//	raw-upstream [--listen :443] [--control :8081] (--cert --key | --self-signed-ca-dir --name) [--ends-with-stdin]
//
// Control: POST /scripts {"scripts":[SCRIPT...],"standing":SCRIPT} replaces the queue (a script for each next
// connection) and the one used when it is empty; GET /connections (received bytes as base64, heads found in them),
// DELETE /connections, GET /count, GET /ca.pem, GET /healthz.
// SCRIPT: {"steps":[STEP...],"loop":true}; STEP is one of {"handshake":true}, {"await":{"bytes":N}},
// {"await":{"head":true,"body":N}}, {"send":BASE64}, {"send_text":TEXT}, {"pause_ms":N}, {"stall":true},
// {"reset":true}, {"close":"tls"|"tcp"}, {"half_close":"tls"|"tcp"}. A first step "reset" resets before TLS. After the
// last step the connection is read until the peer ends it.
//
// # caller: the application in a pod
//
//	caller [--control :8080] [--ends-with-stdin]
//
// POST /run {"url","method","headers":{NAME:TEXT|[TEXT]},"body"|"body_base64"|"body_size","chunked","count","for_ms",
// "concurrency","rate","deadline_ms","stop_on_first_refusal","include_body","include_headers","body_limit","quiet",
// "untraced","one_connection_each","follow_redirects","disable_compression","dial","server_name","ca_pem","insecure","http2"}
// streams a JSON line for each call and last {"summary":...}; without that line the run was cut off. A url beginning
// with "/" or "$KEYLEND_URL" is below that variable. Each call has a fresh traceparent, told in its result. As any
// application on net/http, a call without a body is sent again when a reused connection ends before any answer.
// POST /stream, the same for one call and {"upload":{"pieces","size","every_ms"}}, tells begin, sent, head, chunk, end.
// POST /raw {"address","writes":[{"base64"|"text","delay_ms","split_at"}],"half_close","timeout_ms"}: bytes as they are.
// POST /stop[?now=1] begins no more calls [and aborts those under way].
// GET /environ, GET /files[?root=/&limit=N] (JSON lines), POST /files {"root","fingerprints"} and POST /memory
// {"fingerprints"} search this pod's files and this process's memory for what `fingerprint` printed, so that the value
// itself never comes here; POST /plant {"base64","path"} plants a canary in memory, or in a file: the positive control.
//
// # One-shots
//
//	call URL [-X METHOD] [-H "Name: value"]... [-d BODY] [--expect STATUS] [--retry-for 30s] [--deadline 30s] [--brief]
//	     [--insecure] [--cacert FILE] [--dial HOST:PORT]    exit 0 success, 1 no answer, 4 refused by Keylend, 5 other
//	certificates --dir DIR --name NAME... [--validity V]    ca.pem, ca.key (used again), cert.pem, key.pem
//	mem-scan --pid PID (--needle-base64 B | --needle-file F) [--encodings=false] [--fragment N] [--freeze] [--after 100ms]
//	grep-canary DIR|FILE|- (same needle flags)              both: JSON report; exit 0 none, 3 found, 1 nothing was read
//	fingerprint, spell (same needle flags)                  JSON for /memory and /files; every spelling of the value
//	hold                                                    keeps standard input in memory: mem-scan's positive control
//	enrol HOST:PORT                                         a token from standard input with a key of its own: the answer
//	idle HOST:PORT                                          how long a stranger's HTTP/2 connection lasts, how many streams
//	exit N   true   sleep 10s|inf   wait-url URL [--timeout 1m] [--expect STATUS]
package main

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"keylend.dev/e2e/peers/internal/app"
	"keylend.dev/e2e/peers/internal/origin"
	"keylend.dev/e2e/peers/internal/pki"
	"keylend.dev/e2e/peers/internal/script"
)

var applets = map[string]func(args []string) int{
	"upstream":     orFail(origin.Main),
	"raw-upstream": orFail(script.Main),
	"caller":       orFail(app.Main),
	"call":         app.Call,
	"certificates": orFail(pki.Main),
	"mem-scan":     memScan,
	"grep-canary":  grepCanary,
	"fingerprint":  fingerprint,
	"spell":        spell,
	"hold":         hold,
	"enrol":        orFail(enrol),
	"idle":         orFail(idle),
	"exit":         exitWith,
	"true":         func([]string) int { return 0 },
	"sleep":        sleepFor,
	"wait-url":     waitURL,
}

func main() {
	if len(os.Args) > 1 {
		if applet, known := applets[os.Args[1]]; known {
			os.Exit(applet(os.Args[2:]))
		}
	}
	fmt.Fprintf(os.Stderr, "usage: keylend-peers %s\n", strings.Join(slices.Sorted(maps.Keys(applets)), "|"))
	os.Exit(misused)
}

// orFail makes an exit code of an error.
func orFail(run func(args []string) error) func(args []string) int {
	return func(args []string) int {
		err := run(args)
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return 0
		default:
			return complain(err, failed)
		}
	}
}
