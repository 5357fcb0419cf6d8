package wa

import (
	"reflect"

	"go.mau.fi/whatsmeow"
)

// sentByMemory is whatsmeow's own store of the last 256 messages that a client sent.
const sentByMemory = "recentMessagesMap"

// shed lets go of the room for 256 sent messages that whatsmeow reserves for each client before it sends one: 39 KiB of the 106 that an idle
// session takes. The store works on as before, from small on. What holds it is not exported and nothing else reaches it, so that a whatsmeow that keeps
// it elsewhere is left as it is, and a test tells.
func shed(cli *whatsmeow.Client) {
	field := reflect.ValueOf(cli).Elem().FieldByName(sentByMemory)
	if !field.IsValid() || field.Kind() != reflect.Map || field.Len() > 0 {
		return
	}
	reflect.NewAt(field.Type(), field.Addr().UnsafePointer()).Elem().Set(reflect.MakeMap(field.Type()))
}
