package main

import (
	"os"
	"path/filepath"
	"testing"
)

// modules is the folder with all that the tools are made from. The program runs in it; these tests run in copies.
var modules, _ = filepath.Abs("../..")

func TestAKeyIsAnotherOnceWhatTheProgramIsMadeFromChanges(t *testing.T) {
	for _, row := range []struct {
		tool, changed string
		another       bool
	}{
		{"kubernetes", "kubernetes/go.sum", true},
		{"kubernetes", "kubernetes/go.mod", true},
		{"kubernetes", "kubernetes/main.go", true},
		{"kubernetes", "go.sum", false},
		{"keylend-cluster", "go.sum", true},
		{"keylend-cluster", "internal/cluster/up.go", true},
		{"keylend-cluster", "kubernetes/go.sum", false},
		{"keylend-cluster", "cluster_test.go", false},
		{"helm", "helm/go.sum", true},
		{"coredns", "coredns/go.sum", true},
	} {
		t.Run(row.tool+" and "+row.changed, func(t *testing.T) {
			tool := named(t, row.tool)
			before, again := keyOfACopy(t, tool, ""), keyOfACopy(t, tool, "")
			if before != again {
				t.Errorf("two copies of the same have the keys %s and %s", before, again)
			}
			if after := keyOfACopy(t, tool, row.changed); (after != before) != row.another {
				t.Errorf("the key was %s and is %s", before, after)
			}
		})
	}
}

func TestAKeyIsAnotherForOtherLinkerFlags(t *testing.T) {
	tool := named(t, "helm")
	before := keyOfACopy(t, tool, "")
	tool.version = nil
	if keyOfACopy(t, tool, "") == before {
		t.Error("the key is the same")
	}
}

func named(t *testing.T, name string) tool {
	t.Helper()
	for _, tool := range tools {
		if tool.name == name {
			return tool
		}
	}
	t.Fatalf("no tool %s", name)
	return tool{}
}

// keyOfACopy is the tool's key in a fresh copy of all modules, in which a line was added to the file `changed`, if any.
func keyOfACopy(t *testing.T, tool tool, changed string) string {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.CopyFS(".", os.DirFS(modules)); err != nil {
		t.Fatal(err)
	}
	if changed != "" {
		content, err := os.ReadFile(changed)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(changed, append(content, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	key, err := tool.key()
	if err != nil {
		t.Fatal(err)
	}
	return key
}
