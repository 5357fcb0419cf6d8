// Package spec holds what is generated from ../openapi.yaml: the models, the echo routes, and the description as JSON.
// Change openapi.yaml and run go generate; nothing here is edited by hand but this file.
package spec

import _ "embed"

//go:generate go tool -modfile=../../../deploy/tools.mod oapi-codegen -config oapi.yaml ../openapi.yaml
//go:generate go run -modfile=../../../deploy/tools.mod yaml2json.go ../openapi.yaml openapi.json

//go:embed openapi.json
var description []byte

// JSON returns the description of the API, OpenAPI 3.1. The caller must not change it.
func JSON() []byte { return description }
