package conffile

import (
	"fmt"

	"github.com/goccy/go-yaml"
)

// JSON is a configuration as one JSON document with the keys of its file, those with their defaults too.
func JSON(v any) ([]byte, error) {
	text, err := yaml.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("writing the configuration as YAML: %w", err)
	}
	doc, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, fmt.Errorf("writing the configuration as JSON: %w", err)
	}
	return doc, nil
}
