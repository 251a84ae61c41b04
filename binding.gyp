{
  "targets": [
    {
      "target_name": "dynamo_node",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": ["binding.gyp", "<!@(find native -type f -not -path '*/target/*')"],
          "outputs": ["<(PRODUCT_DIR)/dynamo_node.node"],
          "action": [
            "node",
            "<!(node -p \"require.resolve('cmake-js/bin/cmake-js')\")",
            "compile",
            "-d",
            "native",
            "-O",
            "build/cmake",
            "--CDCMAKE_LIBRARY_OUTPUT_DIRECTORY=<(PRODUCT_DIR)",
            "--CDDYNAMO_TESTING=<!(node -p \"process.env.DYNAMO_TESTING ?? 'ON'\")"
          ]
        }
      ]
    }
  ]
}
