package main

// The two upstreams: what they saw maps to what was sent, and a script resets where it is told.

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"keylend.dev/e2e/peers/internal/origin"
	"keylend.dev/e2e/peers/internal/script"
)

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

func TestAnEarlyAnswerTakesNothingOfItsBodyForTheNextRequest(t *testing.T) {
	p := startPeers(t, "upstream")
	anchors := x509.NewCertPool()
	anchors.AppendCertsFromPEM([]byte(p.ca))
	conn, err := tls.Dial("tcp", strings.TrimPrefix(p.url, "https://"), &tls.Config{RootCAs: anchors})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const length = 2 << 20
	head := fmt.Sprintf("POST /early HTTP/1.1\r\nHost: origin\r\nContent-Length: %d\r\n\r\n", length)
	go io.WriteString(conn, head+strings.Repeat("x", length))
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil || response.StatusCode != http.StatusRequestEntityTooLarge {
		t.Fatal(response, err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	if more, _ := io.ReadAll(reader); len(more) > 0 {
		t.Errorf("answered the body: %s", more)
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
