package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"keylend.dev/e2e/cluster/internal/image"
)

// images is `image load` and `image digest`.
func images(settings settings, arguments []string) error {
	action := ""
	if len(arguments) > 0 {
		action, arguments = arguments[0], arguments[1:]
	}
	command := newCommand("image", settings)
	if action == "-h" || action == "--help" {
		command.Usage()
		return nil
	}
	if action != "load" && action != "digest" {
		return errors.New("say `image load` or `image digest`")
	}
	var spec image.Spec
	var extra []image.File
	reference := command.String("image", "", "`name` of the image, for example keylend.dev/sidecar:test")
	binary := command.String("binary", "", "static `program` that the image runs")
	entrypoint := command.String("entrypoint", "", "`path` of the program in the image (/ and its own name)")
	command.StringVar(&spec.User, "user", "65532", "`number` of the user it runs as")
	var mode int64
	command.Func("mode", "octal `mode` of the program; with 0111 nobody who runs it can read it (as the source has it)", func(text string) (err error) {
		mode, err = strconv.ParseInt(text, 8, 16)
		return err
	})
	command.Func("file", "another file, `SOURCE:DESTINATION` (may be repeated)", func(text string) error {
		file, err := image.ParseFile(text)
		extra = append(extra, file)
		return err
	})
	found, err := command.parseAlone(arguments)
	if err != nil {
		return err
	}
	if *reference == "" || *binary == "" {
		return errors.New("--image and --binary are needed")
	}
	if *entrypoint == "" {
		*entrypoint = "/" + filepath.Base(*binary)
	}
	program := image.File{Source: *binary, Destination: *entrypoint, Mode: mode}
	spec.Reference, spec.Files = *reference, append([]image.File{program}, extra...)
	built, err := image.Build(spec)
	if err != nil {
		return err
	}
	if action == "load" {
		if err := built.Load(found.Paths().ContainerdSocket); err != nil {
			return err
		}
	}
	fmt.Println(built.Digest)
	return nil
}
