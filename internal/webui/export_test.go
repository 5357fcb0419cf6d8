package webui

// Patterns are the routes of all pages, as http.ServeMux has them.
func Patterns() []string {
	var all []string
	for _, r := range (&Site{sandbox: true}).routes() {
		all = append(all, r.pattern)
	}
	return all
}

// AssetPaths are the addresses of all assets.
func AssetPaths() ([]string, error) {
	a, err := loadAssets()
	if err != nil {
		return nil, err
	}
	var all []string
	for path := range a.files {
		all = append(all, path)
	}
	return all, nil
}
