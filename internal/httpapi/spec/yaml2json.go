//go:build ignore

// Command yaml2json writes a YAML file as JSON, keys in the file's order.
// Usage: yaml2json in.yaml out.json. It runs with deploy/tools.mod, so that the hub itself needs no YAML library.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"go.yaml.in/yaml/v3"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(in, out string) error {
	source, err := os.ReadFile(in)
	if err != nil {
		return err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(source, &doc); err != nil {
		return fmt.Errorf("parse %s: %w", in, err)
	}
	var compact, indented bytes.Buffer
	if err := write(&compact, doc.Content[0]); err != nil {
		return fmt.Errorf("convert %s: %w", in, err)
	}
	if err := json.Indent(&indented, compact.Bytes(), "", " "); err != nil {
		return fmt.Errorf("convert %s: %w", in, err)
	}
	indented.WriteByte('\n')
	return os.WriteFile(out, indented.Bytes(), 0o644)
}

func write(w *bytes.Buffer, n *yaml.Node) error {
	switch n.Kind {
	case yaml.AliasNode:
		return write(w, n.Alias)
	case yaml.MappingNode:
		w.WriteByte('{')
		for i := 0; i < len(n.Content); i += 2 {
			if i > 0 {
				w.WriteByte(',')
			}
			key, err := json.Marshal(n.Content[i].Value)
			if err != nil {
				return err
			}
			w.Write(key)
			w.WriteByte(':')
			if err := write(w, n.Content[i+1]); err != nil {
				return err
			}
		}
		w.WriteByte('}')
		return nil
	case yaml.SequenceNode:
		w.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				w.WriteByte(',')
			}
			if err := write(w, item); err != nil {
				return err
			}
		}
		w.WriteByte(']')
		return nil
	}
	var value any
	if err := n.Decode(&value); err != nil {
		return err
	}
	scalar, err := json.Marshal(value)
	w.Write(scalar)
	return err
}
