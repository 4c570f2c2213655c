package main

// The scanners: what was planted is found, what was not is not, and exit codes say so.

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keylend.dev/e2e/peers/internal/seek"
)

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
