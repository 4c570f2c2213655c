package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"keylend.dev/e2e/cluster/internal/bare"
	"keylend.dev/e2e/cluster/internal/cluster"
)

// order is how the overview lists the verbs.
var order = []string{"up", "down", "check", "status", "run", "image", "kubeconfig", "paths", "pid", "etcd-dump", "api"}

func verbs() map[string]verb {
	return map[string]verb{
		"up": {"[--name NAME] [--audit]", "bring a cluster up; one that is up stays as it is",
			"keylend-cluster up --name mine", up},
		"down": {"[--name NAME]", "take a cluster down, in whatever state it is; nothing is left",
			"keylend-cluster down --name mine", down},
		"check": {"[--name NAME]", "list everything on this machine that belongs to a cluster; fails if there is any",
			"keylend-cluster down --name mine && keylend-cluster check --name mine", check},
		"status": {"[--name NAME]", "say whether a cluster is healthy; fails if not",
			"keylend-cluster status --name mine", status},
		"run": {"[--name NAME] -- COMMAND...", "become a command inside a cluster's network, with KUBECONFIG, kubectl and helm",
			"keylend-cluster run --name mine -- kubectl get pods --all-namespaces", runInside},
		"image": {"load|digest [--name NAME] --image REF --binary FILE [--entrypoint PATH] [--user UID] [--file SRC:DST]...",
			"make an image from static binaries; print its digest; load it into a cluster",
			"keylend-cluster image load --name mine --image keylend.dev/sidecar:test --binary target/release/keylend-sidecar --user 2102", images},
		"kubeconfig": {"[--name NAME]", "print the path of a cluster's kubeconfig",
			"keylend-cluster kubeconfig --name mine", kubeconfig},
		"paths": {"[--name NAME] [-o json]", "print where things are: pid files, logs, etcd, kubelet, containerd, audit log",
			"keylend-cluster paths --name mine -o json", paths},
		"pid": {"[--name NAME] --pod NAMESPACE/NAME --container NAME [-o json]", "print the process id of a running container",
			"nsenter --net=/proc/$(keylend-cluster pid --pod default/app --container app)/ns/net ss -tnp", pid},
		"etcd-dump": {"[--name NAME]", "print every key and value of etcd, raw",
			"keylend-cluster etcd-dump --name mine | grep --count kl-test-value", etcdDump},
		"api": {"", "run etcd and an API server alone, until standard input ends; print how to speak to them",
			"sleep 60 | keylend-cluster api", api},
	}
}

func up(settings settings, arguments []string) error {
	command := newCommand("up", settings)
	audit := command.Bool("audit", false, "write an audit log (see paths)")
	found, err := command.parseAlone(arguments)
	if err != nil {
		return err
	}
	auditing := cluster.WithoutAudit
	if *audit {
		auditing = cluster.WithAudit
	}
	return found.Up(auditing, func(line string) { fmt.Println(line) })
}

func down(settings settings, arguments []string) error {
	found, err := newCommand("down", settings).parseAlone(arguments)
	if err != nil {
		return err
	}
	return found.Down()
}

func check(settings settings, arguments []string) error {
	found, err := newCommand("check", settings).parseAlone(arguments)
	if err != nil {
		return err
	}
	left, err := found.Leftovers()
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("of cluster %s there is:\n%s", found.Name(), strings.Join(left, "\n"))
	}
	return nil
}

func status(settings settings, arguments []string) error {
	found, err := newCommand("status", settings).parseAlone(arguments)
	if err != nil {
		return err
	}
	if err := found.Status(); err != nil {
		return err
	}
	fmt.Printf("cluster %s is up\n", found.Name())
	return nil
}

func runInside(settings settings, arguments []string) error {
	command := newCommand("run", settings)
	found, err := command.parse(arguments)
	if err != nil {
		return err
	}
	if command.NArg() == 0 {
		return errors.New("no command given")
	}
	return found.Run(command.Args())
}

func kubeconfig(settings settings, arguments []string) error {
	found, err := newCommand("kubeconfig", settings).parseAlone(arguments)
	if err != nil {
		return err
	}
	fmt.Println(found.Kubeconfig())
	return nil
}

func paths(settings settings, arguments []string) error {
	command := newCommand("paths", settings)
	output := command.String("o", "json", "output `format`: json")
	found, err := command.parseAlone(arguments)
	if err != nil {
		return err
	}
	if *output != "json" {
		return fmt.Errorf("no output format %q", *output)
	}
	return printJSON(found.Paths())
}

func pid(settings settings, arguments []string) error {
	command := newCommand("pid", settings)
	pod := command.String("pod", "", "the pod, `NAMESPACE/NAME`")
	container := command.String("container", "", "`name` of the container, init containers included")
	output := command.String("o", "", "output `format`: json for id, network namespace and root as well")
	found, err := command.parseAlone(arguments)
	if err != nil {
		return err
	}
	running, err := found.FindContainer(*pod, *container)
	if err != nil {
		return err
	}
	if *output == "json" {
		return printJSON(running)
	}
	fmt.Println(running.Pid)
	return nil
}

func etcdDump(settings settings, arguments []string) error {
	found, err := newCommand("etcd-dump", settings).parseAlone(arguments)
	if err != nil {
		return err
	}
	if err := found.Reenter(); err != nil {
		return err
	}
	output := bufio.NewWriter(os.Stdout)
	if err := found.DumpEtcd(context.Background(), output); err != nil {
		return err
	}
	return output.Flush()
}

func api(settings settings, arguments []string) error {
	command := command{newFlags("api"), settings, &settings.name}
	if _, err := command.parseAlone(arguments); err != nil {
		return err
	}
	kubernetes, err := filepath.EvalSymlinks(filepath.Join(settings.tools, "kubernetes"))
	if err != nil {
		return fmt.Errorf("Kubernetes is not built (make cluster-tools): %w", err)
	}
	announce := func(facts bare.Facts) error { return json.NewEncoder(os.Stdout).Encode(facts) }
	return bare.Serve(kubernetes, announce, func() { _, _ = io.Copy(io.Discard, os.Stdin) })
}

func printJSON(value any) error {
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}
