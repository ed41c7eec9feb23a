package conffile

import (
	"fmt"

	"github.com/goccy/go-yaml"
)

// YAML is a configuration as its file may have it, those keys that hold their defaults too.
func YAML(v any) ([]byte, error) {
	text, err := yaml.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("writing the configuration as YAML: %w", err)
	}
	return text, nil
}

// JSON is a configuration as one JSON document with the keys of its file, those with their defaults too.
func JSON(v any) ([]byte, error) {
	text, err := YAML(v)
	if err != nil {
		return nil, err
	}
	doc, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, fmt.Errorf("writing the configuration as JSON: %w", err)
	}
	return doc, nil
}
