package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"testing"

	"keylend.dev/e2e/peers/internal/app"
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
