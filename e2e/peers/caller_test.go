package main

// The caller: runs that end as told, streams, raw bytes, and what it tells of its own container.

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"keylend.dev/e2e/peers/internal/app"
)

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
