package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"keylend.dev/e2e/peers/internal/app"
	"keylend.dev/e2e/peers/internal/origin"
	"keylend.dev/e2e/peers/internal/script"
	"keylend.dev/e2e/peers/internal/seek"
	"keylend.dev/e2e/peers/internal/spelling"
)

// The applets run as processes of their own, as in the cluster: this test binary, started again, is the peers binary.

func TestMain(m *testing.M) {
	if os.Getenv("RUN_AS_PEERS") != "" {
		main()
	}
	os.Exit(m.Run())
}

const credential = "kl-test-f/0+rty~two%xx"

func command(args ...string) *exec.Cmd {
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), "RUN_AS_PEERS=1")
	c.Stderr = os.Stderr
	return c
}

// start runs a long-running applet until the test ends, and returns what it announced.
func start(t *testing.T, args ...string) map[string]any {
	t.Helper()
	c := command(append(args, "--ends-with-stdin")...)
	stdin, _ := c.StdinPipe()
	stdout, _ := c.StdoutPipe()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := c.Wait(); err != nil {
			t.Errorf("%s: %v", args[0], err)
		}
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		t.Fatalf("%s announced nothing: %v", args[0], err)
	}
	var facts map[string]any
	if err := json.Unmarshal(line, &facts); err != nil {
		t.Fatal(err)
	}
	return facts
}

// peers is one of each.
type peers struct{ url, control, ca, caller string }

func startPeers(t *testing.T, kind string) peers {
	t.Helper()
	dir := t.TempDir()
	facts := start(t, kind, "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--self-signed-ca-dir", dir)
	caller := start(t, "caller", "--control", "127.0.0.1:0")
	return peers{
		url:     "https://" + facts["listening"].([]any)[0].(string),
		control: "http://" + facts["control"].(string),
		ca:      facts["ca"].(string),
		caller:  "http://" + caller["control"].(string),
	}
}

func post(t *testing.T, url string, body any) []byte {
	t.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Post(url, "application/json", bytes.NewReader(encoded))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= 300 {
		t.Fatalf("%s: %s %s %v", url, response.Status, answer, err)
	}
	return answer
}

func get[T any](t *testing.T, url string) T {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var body T
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return body
}

// run has the caller carry a run out.
func (p peers) run(t *testing.T, run map[string]any) ([]app.Result, app.Summary) {
	t.Helper()
	run["ca_pem"] = p.ca
	run["url"] = p.url + run["url"].(string)
	var results []app.Result
	var last struct{ Summary *app.Summary }
	for line := range bytes.Lines(post(t, p.caller+"/run", run)) {
		var result app.Result
		if json.Unmarshal(line, &last) == nil && last.Summary != nil {
			return results, *last.Summary
		}
		if err := json.Unmarshal(line, &result); err != nil {
			t.Fatal(err)
		}
		results = append(results, result)
	}
	t.Fatal("the run was cut off")
	return nil, app.Summary{}
}

func TestTheCallersResultsAndTheOriginsHitsMapOneToOne(t *testing.T) {
	p := startPeers(t, "upstream")
	if none := get[[]origin.Hit](t, p.control+"/hits"); none == nil || len(none) != 0 {
		t.Errorf("%v is no empty list", none)
	}
	post(t, p.control+"/expect", map[string]string{"authorization": "Bearer another"})
	p.run(t, map[string]any{"url": "/ok", "headers": map[string]any{"Authorization": "Bearer " + credential}})
	p.run(t, map[string]any{"url": "/ok", "headers": map[string]any{"Authorization": []string{"Bearer another", "Bearer another"}}})
	for _, hit := range get[[]origin.Hit](t, p.control+"/hits") {
		if hit.Authorization.Expected {
			t.Errorf("taken for the expected credential: %+v", hit)
		}
	}
	request, _ := http.NewRequest(http.MethodDelete, p.control+"/hits", nil)
	if _, err := http.DefaultClient.Do(request); err != nil {
		t.Fatal(err)
	}
	post(t, p.control+"/expect", map[string]string{"authorization": "Bearer " + credential})
	results, summary := p.run(t, map[string]any{
		"url": "/upload?x=1", "method": "POST", "count": 60, "concurrency": 6, "body_size": 70_000,
		"headers": map[string]any{"Authorization": "Bearer " + credential}, "include_body": true,
	})
	hits := get[[]origin.Hit](t, p.control+"/hits")
	if len(results) != 60 || len(hits) != 60 || summary.Calls != 60 || summary.ByStatus["200"] != 60 {
		t.Fatalf("%d results, %d hits, %+v", len(results), len(hits), summary)
	}
	byTrace := map[string]origin.Hit{}
	for _, hit := range hits {
		byTrace[hit.TraceID] = hit
	}
	for _, result := range results {
		hit, known := byTrace[result.TraceID]
		delete(byTrace, result.TraceID)
		if !known || !hit.Authorization.Expected || hit.Body.Length != 70_000 || hit.Body.End != "complete" ||
			!strings.Contains(result.Body, hit.Body.Sha256) || hit.Time < result.Start || hit.Outcome != "answered" ||
			hit.Method != "POST" || hit.Target != "/upload?x=1" || hit.TLS != "TLS 1.3" || hit.Connection == 0 {
			t.Fatalf("%+v\n%+v", result, hit)
		}
	}
	if strings.Contains(fmt.Sprint(hits), credential) {
		t.Error("the log holds the credential")
	}
	if found := get[[]origin.Hit](t, p.control+"/hits?trace="+results[0].TraceID); len(found) != 1 {
		t.Error(found)
	}
	if count := get[map[string]int](t, p.control+"/count?at_least=60&wait_ms=1"); count["hits"] != 60 || count["expected"] != 60 {
		t.Error(count)
	}
}

func TestTheCredentialComesBackInEverySpellingFromEveryPlace(t *testing.T) {
	p := startPeers(t, "upstream")
	for _, query := range []string{
		"", "split=1", "at=7", "length=known", "length=known&split=1", "by=hand", "by=hand&split=1&length=known",
		"in=reason", "in=reason,headers,body,trailers&split=1",
	} {
		results, _ := p.run(t, map[string]any{
			"url": "/echo-encoded?" + query, "headers": map[string]any{"Authorization": "Bearer " + credential},
			"include_body": true, "include_headers": true,
		})
		got := results[0]
		decoded, _ := base64.StdEncoding.DecodeString(got.BodyBase64)
		headers, trailers := flat(got.Headers), flat(got.Trailers)
		for _, s := range spelling.All() {
			seen := string(s.Seen([]byte(credential)))
			places := map[string]string{"body": got.Body + string(decoded), "reason": got.Reason, "headers": headers, "trailers": trailers}
			for place, text := range places {
				if wanted := belongs(query, place, s); strings.Contains(text, seen) != wanted && s.Name != "html-minimal" {
					t.Errorf("%q: %s in %s: %t, wanted %t (%s)", query, s.Name, place, !wanted, wanted, got.Error)
				}
			}
		}
	}
	hits := get[[]origin.Hit](t, p.control+"/hits")
	if hits[0].Echoed < 60 {
		t.Errorf("echoed %d", hits[0].Echoed)
	}
}

func TestAnAnswerIsCutIntoPiecesWhereItIsAsked(t *testing.T) {
	p := startPeers(t, "upstream")
	whole := len(pieces(t, p, "by=hand&length=known&enc=raw")[0])
	for _, c := range []struct {
		query string
		sizes func(sizes []int) bool
	}{
		{"by=hand&length=known&enc=raw&split=1", func(sizes []int) bool { return len(sizes) == whole }},
		{"by=hand&length=known&enc=raw&at=40", func(sizes []int) bool { return slices.Equal(sizes, []int{40, whole - 40}) }},
		{"length=known&enc=raw&in=body&at=9", func(sizes []int) bool { return len(sizes) == 3 && sizes[1] == 9 }},
	} {
		var sizes []int
		for _, piece := range pieces(t, p, c.query) {
			sizes = append(sizes, len(piece))
		}
		if !c.sizes(sizes) {
			t.Errorf("%s: %v of %d", c.query, sizes, whole)
		}
	}
}

// pieces gives the TLS records of the answer.
func pieces(t *testing.T, p peers, query string) [][]byte {
	t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(p.url, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /echo-encoded?%s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: %s\r\n\r\n", query, credential)
	var all [][]byte
	for {
		buffer := make([]byte, 64<<10)
		n, err := conn.Read(buffer)
		if n > 0 {
			all = append(all, buffer[:n])
		}
		if err != nil {
			return all
		}
	}
}

func belongs(query, place string, s spelling.Spelling) bool {
	listed := "headers,body,trailers"
	if _, in, has := strings.Cut(query, "in="); has {
		listed, _, _ = strings.Cut(in, "&")
	}
	switch {
	case !strings.Contains(","+listed+",", ","+place+","):
		return false
	case place == "trailers" && strings.Contains(query, "length=known"):
		return false
	default:
		return place == "body" || s.Place == spelling.Anywhere
	}
}

func flat(header http.Header) string {
	var out strings.Builder
	_ = header.Write(&out)
	return out.String()
}

func TestARunStopsByItselfAtItsFirstRefusalOrAtItsEnd(t *testing.T) {
	var calls atomic.Int64
	sidecar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) >= 10 {
			w.Header().Set("Keylend-Refusal", "share_revoked")
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer sidecar.Close()
	p := startPeers(t, "upstream")
	p.url = sidecar.URL
	_, refused := p.run(t, map[string]any{"url": "/", "count": 1000, "concurrency": 3, "stop_on_first_refusal": true})
	if n := refused.ByRefusal["share_revoked"]; n < 1 || n > 3 || refused.Calls > 13 {
		t.Errorf("%+v", refused)
	}
	_, ended := p.run(t, map[string]any{"url": "/", "for_ms": 100, "concurrency": 3, "quiet": true})
	if ended.ElapsedMs < 100 || ended.ElapsedMs > 2000 || ended.Calls == 0 {
		t.Errorf("%+v", ended)
	}
	code := command("call", sidecar.URL+"/", "--brief")
	if out, _ := code.Output(); code.ProcessState.ExitCode() != 4 || string(out) != "403 Forbidden  share_revoked\n" {
		t.Errorf("%s %d", out, code.ProcessState.ExitCode())
	}
}

func TestARunStopsWhenTold(t *testing.T) {
	p := startPeers(t, "upstream")
	go func() {
		for get[map[string]int](t, p.control+"/count?at_least=5&wait_ms=5000")["hits"] < 5 {
		}
		http.Post(p.caller+"/stop", "", nil)
	}()
	_, summary := p.run(t, map[string]any{"url": "/ok", "for_ms": 20_000, "rate": 50, "quiet": true})
	if summary.Calls < 5 || summary.ElapsedMs > 10_000 {
		t.Errorf("%+v", summary)
	}
}

func TestAStreamTellsWhenEachPieceCameAndHowItEnded(t *testing.T) {
	p := startPeers(t, "upstream")
	cases := []struct {
		url    string
		chunks int
		error  string
	}{
		{"/stream?every=20ms&for=200ms", 5, ""},
		{"/cut?n=1000&after=100", 1, "unexpected EOF"},
	}
	for _, c := range cases {
		var chunks int
		var last app.Event
		for line := range bytes.Lines(post(t, p.caller+"/stream", map[string]any{"url": p.url + c.url, "ca_pem": p.ca})) {
			last = app.Event{}
			_ = json.Unmarshal(line, &last)
			if last.Event == "chunk" {
				chunks++
			}
		}
		if chunks < c.chunks || last.Event != "end" || last.Error != c.error {
			t.Errorf("%s: %d chunks, %+v", c.url, chunks, last)
		}
	}
}

func TestASlowUploadArrivesPieceByPiece(t *testing.T) {
	p := startPeers(t, "upstream")
	answer := post(t, p.caller+"/stream", map[string]any{
		"url": p.url + "/duplex", "method": "POST", "ca_pem": p.ca, "chunked": true,
		"upload": map[string]int{"pieces": 5, "size": 100, "every_ms": 10},
	})
	if got := string(answer); strings.Count(got, `"sent"`) != 5 || !strings.Contains(got, `"length":500,"sha256"`) {
		t.Error(got)
	}
}

func TestAScriptResetsWhereItIsToldAndSawOneHead(t *testing.T) {
	p := startPeers(t, "raw-upstream")
	answer := "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
	await := map[string]any{"await": map[string]any{"head": true, "body": 4}}
	cases := []struct {
		steps  []any
		status int
		body   string
		heads  int
	}{
		{[]any{map[string]any{"reset": true}}, 0, "", 0},
		{[]any{map[string]any{"handshake": true}, map[string]any{"reset": true}}, 0, "", 0},
		{[]any{map[string]any{"await": map[string]any{"head": true}}, map[string]any{"reset": true}}, 0, "", 1},
		{[]any{await, map[string]any{"send_text": answer[:17]}, map[string]any{"reset": true}}, 0, "", 1},
		{[]any{await, map[string]any{"send_text": answer[:len(answer)-2]}, map[string]any{"reset": true}}, 200, "hel", 1},
		{[]any{await, map[string]any{"send_text": answer}, map[string]any{"close": "tls"}}, 200, "hello", 1},
	}
	var scripts []any
	for _, c := range cases {
		scripts = append(scripts, map[string]any{"steps": c.steps})
	}
	post(t, p.control+"/scripts", map[string]any{"scripts": scripts})
	for i, c := range cases {
		results, _ := p.run(t, map[string]any{
			"url": "/once", "method": "POST", "body": "kl-t", "include_body": true, "one_connection_each": true,
			"deadline_ms": 5000,
		})
		got := results[0]
		// Before the head, Go's client words a reset in several ways.
		reset := strings.Contains(got.Error, "reset by peer") || got.Status == 0 && got.Error != ""
		if got.Status != c.status || got.Body != c.body || reset != (c.body != "hello") {
			t.Errorf("case %d: %+v", i, got)
		}
	}
	seen := get[[]script.Seen](t, p.control+"/connections")
	if len(seen) != len(cases) {
		t.Fatalf("%d connections", len(seen))
	}
	for i, c := range cases {
		if len(seen[i].Heads) > 1 || len(seen[i].Heads) < c.heads {
			t.Errorf("case %d: %+v", i, seen[i])
		}
	}
}

func TestRawBytesGoOutAsTheyAreAndTheirAnswerComesBackWithItsEnding(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all, _ := io.ReadAll(conn)
			conn.Write(all)
			conn.Close()
		}
	}()
	p := startPeers(t, "upstream")
	cases := []struct {
		raw   map[string]any
		text  string
		ended string
	}{
		{map[string]any{"writes": []any{
			map[string]any{"text": "GET / HTTP/1.1\r\n", "split_at": 1},
			map[string]any{"base64": []byte("\x01end"), "delay_ms": 300},
		}, "half_close": true, "timeout_ms": 200}, "GET / HTTP/1.1\r\n\x01end", "eof"},
		{map[string]any{"writes": []any{map[string]any{"text": "x"}}, "timeout_ms": 50}, "", "timeout"},
	}
	for _, c := range cases {
		c.raw["address"] = listener.Addr().String()
		var got app.RawAnswer
		if err := json.Unmarshal(post(t, p.caller+"/raw", c.raw), &got); err != nil {
			t.Fatal(err)
		}
		if got.Text != c.text || got.Ended != c.ended || got.WriteError != "" {
			t.Errorf("%+v", got)
		}
	}
}

func TestTheCallerTellsItsEnvironmentAndItsFiles(t *testing.T) {
	p := startPeers(t, "upstream")
	environ := get[map[string][]string](t, p.caller+"/environ")
	if !slices.Contains(environ["environ"], "RUN_AS_PEERS=1") || !slices.Contains(environ["initial"], "RUN_AS_PEERS=1") {
		t.Error(environ)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	response, err := http.Get(p.caller + "/files?limit=4&root=" + dir)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var directory, file app.File
	lines := json.NewDecoder(response.Body)
	if err := errors.Join(lines.Decode(&directory), lines.Decode(&file)); err != nil {
		t.Fatal(err)
	}
	if file.Path != filepath.Join(dir, "a") || file.Base64 != "Y29udA==" || !file.Truncated || file.Size != 7 {
		t.Errorf("%+v", file)
	}
}

func TestACanaryPlantedInTheCallerIsFoundInItsMemoryAndFilesAndAnotherIsNot(t *testing.T) {
	p := startPeers(t, "upstream")
	other := fmt.Sprintf("kl-test-%d-absent", time.Now().UnixNano())
	planted := fmt.Sprintf("kl-test-%d-planted", time.Now().UnixNano())
	dir := t.TempDir()
	encoded := base64.StdEncoding.EncodeToString([]byte(planted))
	post(t, p.caller+"/plant", map[string]string{"base64": encoded})
	post(t, p.caller+"/plant", map[string]string{"base64": encoded, "path": filepath.Join(dir, "canary")})
	for value, wanted := range map[string]bool{other: false, planted: true} {
		var prints []seek.Fingerprint
		out, err := command("fingerprint", "--needle-base64", base64.StdEncoding.EncodeToString([]byte(value))).Output()
		if err != nil || json.Unmarshal(out, &prints) != nil {
			t.Fatal(err)
		}
		for _, place := range []string{"/memory", "/files"} {
			var report seek.Report
			search := map[string]any{"fingerprints": prints, "root": dir}
			if json.Unmarshal(post(t, p.caller+place, search), &report); (len(report.Hits) > 0) != wanted || report.Scanned == 0 {
				t.Errorf("%s: %+v", place, report)
			}
		}
	}
}

func TestTheExitCodesOfCallAndOfTheScannersSayWhatCame(t *testing.T) {
	p := startPeers(t, "upstream")
	needle := "--needle-base64=" + base64.StdEncoding.EncodeToString([]byte(credential))
	cases := []struct {
		stdin string
		args  []string
		code  int
	}{
		{"", []string{"call", p.url + "/ok", "--insecure"}, 0},
		{"", []string{"call", p.url + "/status/503", "--insecure", "--brief"}, 5},
		{"", []string{"call", p.url + "/status/503", "--insecure", "--brief", "--expect", "503"}, 0},
		{"", []string{"call", p.url + "/ok", "--brief"}, 1},
		{"", []string{"call"}, 2},
		{"", []string{"exit", "7"}, 7},
		{"", []string{"true"}, 0},
		{"", []string{"sleep", "10ms"}, 0},
		{"", []string{"wait-url", p.control + "/healthz"}, 0},
		{"", []string{"wait-url", "http://127.0.0.1:1/", "--timeout", "100ms"}, 1},
		{"x" + credential, []string{"grep-canary", "-", needle}, 3},
		{"nothing here", []string{"grep-canary", "-", needle}, 0},
		{"", []string{"grep-canary", "-", needle}, 1},
		{"", []string{"mem-scan", "--pid", "0", needle}, 1},
		{"", []string{"nonsense"}, 2},
	}
	for _, c := range cases {
		run := command(c.args...)
		run.Stderr = nil
		run.Stdin = strings.NewReader(c.stdin)
		_ = run.Run()
		if got := run.ProcessState.ExitCode(); got != c.code {
			t.Errorf("%v: exit %d, want %d", c.args, got, c.code)
		}
	}
}
