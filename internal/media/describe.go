package media

import (
	"context"
	"mime"
	"strings"

	"github.com/gabriel-vasile/mimetype"

	"github.com/wapro/hub/internal/gateway"
)

// Describe checks what a file is said to be against its bytes and returns how it goes out. Errors: CodeInvalidMedia for
// a malformed type, CodeMediaMismatch for one that the bytes contradict, CodeMediaLost.
func (s *Store) Describe(ctx context.Context, declared string, blob gateway.Blob) (gateway.Media, error) {
	kind, params, err := mime.ParseMediaType(declared)
	if err != nil || strings.Count(kind, "/") != 1 {
		return gateway.Media{}, gateway.FieldErrorf(gateway.CodeInvalidMedia, "/media/mimetype",
			"mimetype must look like image/jpeg")
	}
	if alias, ok := aliases(kind); ok {
		kind = alias
	}
	if contradicts(kind, mimetype.Detect(blob.Head)) {
		return gateway.Media{}, gateway.FieldErrorf(gateway.CodeMediaMismatch, "/media/mimetype",
			"the bytes are %s, not %s", blob.MimeType, kind)
	}
	m := gateway.Media{MimeType: mime.FormatMediaType(kind, params), Size: blob.Size, SHA256: blob.SHA256}
	if strings.HasPrefix(kind, "audio/") {
		if skip, ok := opusHead(blob.Head); ok {
			// WhatsApp shows a voice note only under this very type.
			m.Voice, m.MimeType = true, "audio/ogg; codecs=opus"
			if m.Seconds, err = s.opusSeconds(ctx, blob.SHA256, skip); err != nil {
				return gateway.Media{}, err
			}
		}
	}
	return m, nil
}

// aliases maps names that are in use, and that no registry has, to the registered one.
func aliases(kind string) (string, bool) {
	switch kind {
	case "image/jpg", "image/pjpeg":
		return "image/jpeg", true
	case "image/x-png":
		return "image/png", true
	case "audio/mp3", "audio/x-mp3", "audio/x-mpeg":
		return "audio/mpeg", true
	case "audio/opus":
		return "audio/ogg", true
	case "audio/x-wav", "audio/wave", "audio/vnd.wave":
		return "audio/wav", true
	case "audio/x-m4a", "audio/m4a":
		return "audio/mp4", true
	}
	return "", false
}

// contradicts reports whether bytes that were found to be sniffed cannot be what is declared. Sniffing knows some
// hundred formats out of thousands, so the doubt is to the sender's benefit where either side is vague.
func contradicts(declared string, sniffed *mimetype.MIME) bool {
	const unknown = "application/octet-stream"
	if declared == unknown || sniffed.Is(unknown) {
		return false
	}
	for m := sniffed; m != nil; m = m.Parent() {
		if m.Is(declared) && !m.Is(unknown) {
			return false
		}
	}
	if f := family(sniffed); f != "" && declaredIn(f, declared) {
		return false
	}
	top, _, _ := strings.Cut(declared, "/")
	if mimetype.Lookup(declared) != nil {
		return true // a format that would have been recognised
	}
	switch top {
	case "image", "audio", "video":
		return !strings.HasPrefix(sniffed.String(), top+"/")
	}
	return false
}

// family names a group of formats that share a container, so that the one cannot be told from the other by its head.
func family(sniffed *mimetype.MIME) string {
	for m := sniffed; m != nil; m = m.Parent() {
		switch {
		case m.Is("application/zip"):
			return "zip"
		case m.Is("application/x-ole-storage"), m.Is("text/rtf"):
			return "ole"
		case m.Is("text/plain"):
			return "text"
		case m.Is("application/ogg"):
			return "ogg"
		case m.Is("video/mp4"), m.Is("video/quicktime"), m.Is("audio/mp4"), m.Is("video/3gpp"):
			return "mp4"
		case m.Is("video/webm"), m.Is("video/x-matroska"):
			return "matroska"
		case m.Is("image/png"):
			return "png"
		case m.Is("application/gzip"):
			return "gzip"
		}
	}
	return ""
}

func declaredIn(family, declared string) bool {
	switch family {
	case "zip":
		switch declared { // the new formats under the old names
		case "application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint":
			return true
		}
		known := mimetype.Lookup(declared)
		if known == nil {
			return strings.HasPrefix(declared, "application/")
		}
		for m := known; m != nil; m = m.Parent() {
			if m.Is("application/zip") {
				return true
			}
		}
		return false
	case "ole":
		switch declared {
		case "application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint",
			"application/vnd.ms-outlook", "application/rtf", "text/rtf":
			return true
		}
		return false
	case "text":
		return textual(declared)
	case "ogg":
		return declared == "audio/ogg" || declared == "video/ogg" || declared == "application/ogg"
	case "mp4":
		switch declared {
		case "video/mp4", "audio/mp4", "video/quicktime", "video/3gpp", "audio/3gpp", "video/3gpp2", "audio/3gpp2",
			"video/x-m4v", "audio/aac":
			return true
		}
		return false
	case "matroska":
		switch declared {
		case "video/webm", "audio/webm", "video/x-matroska", "audio/x-matroska":
			return true
		}
		return false
	case "png":
		return declared == "image/png" || declared == "image/apng"
	case "gzip":
		return strings.HasPrefix(declared, "application/") && mimetype.Lookup(declared) == nil
	}
	return false
}

// textual reports whether a type is written in characters, of which sniffing often finds no more than "text".
func textual(declared string) bool {
	if strings.HasPrefix(declared, "text/") || strings.HasSuffix(declared, "+xml") || strings.HasSuffix(declared, "+json") {
		return true
	}
	known := mimetype.Lookup(declared)
	if known == nil {
		return strings.HasPrefix(declared, "application/")
	}
	for m := known; m != nil; m = m.Parent() {
		if m.Is("text/plain") {
			return true
		}
	}
	return declared == "application/vnd.ms-excel" || declared == "application/msword" // CSV and HTML under these names
}
