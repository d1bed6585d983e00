"""The component and the dynamic resources that the program declares to Pulumi, one file each."""
