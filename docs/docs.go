// Package docs embeds the pages of this folder that the hub itself serves.
package docs

import _ "embed"

//go:embed errors.md
var errorCatalogue []byte

//go:embed message-status.md
var statuses []byte

// Errors is the catalogue of codes. The caller must not change it.
func Errors() []byte { return errorCatalogue }

// Statuses explains the statuses of a message. The caller must not change it.
func Statuses() []byte { return statuses }
